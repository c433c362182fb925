"""What a person sees while packages are imported and while a long step goes on: nobody waits before an empty screen."""

from __future__ import annotations

import sys
import time
from typing import Any

from resnetlab.cli.manners import MANNER, note

HEAVY = ("torch", "timm", "torchvision")


def loading(model: Any = None, quiet: bool = False) -> None:
    """Say on standard error what is about to be imported: torch, and the library that builds `model`, a spec.

    Says nothing when it is imported already, when `quiet`, or with `--quiet`.
    """
    library = getattr(model, "library", "")
    packages = [name for name in ("torch", library) if name in HEAVY and name not in sys.modules]
    if packages and not quiet:
        note(f"loading {' and '.join(packages)} ...")


PATIENCE_SECONDS = 1.0
"""A step that takes no longer shows nothing."""

PLAIN_SECONDS = 10.0
"""Between two lines on a step, where standard error is no terminal."""

TERMINAL_SECONDS = 0.2


class Pulse:
    """Shows on standard error how far a step is: one line that changes on a terminal, a line now and then elsewhere."""

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
            print(f"\r\x1b[K{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
        if done == total:
            self.close()

    def close(self) -> None:
        """End the line that changes, so that another can follow."""
        if self.open and sys.stderr.isatty():
            print(file=sys.stderr, flush=True)
        self.what, self.open = "", False

    def _left(self, now: float, done: int, total: int) -> str:
        if done <= self.first or done == total:
            return ""
        seconds = (now - self.began) / (done - self.first) * (total - done)
        return f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"
