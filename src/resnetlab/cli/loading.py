"""Progress messages during slow imports and long steps."""

from __future__ import annotations

import sys
import time
from typing import Any

from resnetlab.cli.manners import MANNER, note

HEAVY = ("torch", "timm", "torchvision")


def loading(model: Any = None, quiet: bool = False) -> None:
    """Print the packages that are about to be imported: torch, and the library of the model config
    `model`.

    The line goes to standard error. Prints nothing if they are already imported, if `quiet`, or
    with `--quiet`.
    """
    library = getattr(model, "library", "")
    packages = [name for name in ("torch", library) if name in HEAVY and name not in sys.modules]
    if packages and not quiet:
        note(f"loading {' and '.join(packages)} ...")


PATIENCE_SECONDS = 1.0
"""Time before the first progress line of a step."""

PLAIN_SECONDS = 10.0
"""Time between two progress lines if standard error is not a terminal."""

TERMINAL_SECONDS = 0.2


class Pulse:
    """Progress of a step on standard error: one changing line on a terminal, several lines
    elsewhere.
    """

    def __init__(self) -> None:
        self.what, self.began, self.shown, self.first, self.open = "", 0.0, 0.0, 0, False

    def __call__(self, what: str, done: int, total: int) -> None:
        if MANNER.quiet:
            return
        now = time.monotonic()
        if what != self.what:
            self.close()
            self.what, self.began, self.shown, self.first = what, now, now, done
        terminal = sys.stderr.isatty()
        pause = TERMINAL_SECONDS if terminal else PLAIN_SECONDS
        is_last = done == total and self.open
        if is_last or (now - self.began >= PATIENCE_SECONDS and now - self.shown >= pause):
            self.shown, self.open = now, True
            line = f"{what}: {done:,} of {total:,}{self._left(now, done, total)}"
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
        if self.open and sys.stderr.isatty():
            print(file=sys.stderr, flush=True)
        self.what, self.open = "", False

    def _left(self, now: float, done: int, total: int) -> str:
        if done <= self.first or done == total:
            return ""
        seconds = (now - self.began) / (done - self.first) * (total - done)
        return (
            f", about {seconds:.0f} s left"
            if seconds < 100
            else f", about {seconds / 60:.0f} min left"
        )
