"""Progress messages during slow imports and long steps."""

from __future__ import annotations

import sys
import time
from typing import Any

from resnetlab.cli.manners import VERBOSITY, notify

SLOW_IMPORTS = ("torch", "timm", "torchvision")


def announce_loading(model: Any = None, quiet: bool = False) -> None:
    """Print the packages that are about to be imported: torch, and the library of the model config
    `model`.

    The line goes to standard error. Prints nothing if they are already imported, if `quiet`, or
    with `--quiet`.
    """
    library = getattr(model, "library", "")
    packages = [
        name for name in ("torch", library) if name in SLOW_IMPORTS and name not in sys.modules
    ]
    if packages and not quiet:
        notify(f"loading {' and '.join(packages)} ...")


FIRST_LINE_SECONDS = 1.0
"""Time before the first progress line of a step."""

LINE_SECONDS = 10.0
"""Time between two progress lines if standard error is not a terminal."""

TERMINAL_UPDATE_SECONDS = 0.2


class ProgressLine:
    """Progress of a step on standard error: one changing line on a terminal, several lines
    elsewhere.
    """

    def __init__(self) -> None:
        self.title, self.is_open = "", False
        self.start_time = self.last_print_time = 0.0
        self.first_done = 0

    def __call__(self, title: str, done: int, total: int) -> None:
        """Show the progress of the task `title` in items."""
        if VERBOSITY.quiet:
            return
        now = time.monotonic()
        if title != self.title:
            self.close()
            self.title, self.first_done = title, done
            self.start_time = self.last_print_time = now
        terminal = sys.stderr.isatty()
        pause = TERMINAL_UPDATE_SECONDS if terminal else LINE_SECONDS
        is_last = done == total and self.is_open
        if is_last or (
            now - self.start_time >= FIRST_LINE_SECONDS and now - self.last_print_time >= pause
        ):
            self.last_print_time, self.is_open = now, True
            line = f"{title}: {done:,} of {total:,}{self._time_left(now, done, total)}"
            print(
                f"\r\x1b[K{line}" if terminal else line,
                end="" if terminal else "\n",
                file=sys.stderr,
                flush=True,
            )
        if done == total:
            self.close()

    def close(self) -> None:
        """End the changing line, so that another line can follow."""
        if self.is_open and sys.stderr.isatty():
            print(file=sys.stderr, flush=True)
        self.title, self.is_open = "", False

    def _time_left(self, now: float, done: int, total: int) -> str:
        if done <= self.first_done or done == total:
            return ""
        seconds = (now - self.start_time) / (done - self.first_done) * (total - done)
        left = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
        return f", about {left} left"
