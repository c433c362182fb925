"""Orderly stop by Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

ShouldStop = Callable[[], bool]
"""Function that is called between steps; if it returns True, the work ends in an orderly way."""


def never_stop() -> bool:
    """Return False: the work goes on to its end."""
    return False


class StopSignal:
    """Flag that a signal sets: the first one asks for an orderly stop, the second ends the program.

    Args:
        signals: Numbers of the signals.
        on_first: Function that is called at the first signal.
    """

    def __init__(
        self,
        signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM),
        on_first: Callable[[], None] = lambda: None,
    ) -> None:
        self.number = 0
        self._signals, self._on_first = signals, on_first

    def is_set(self) -> bool:
        """Return True after the first signal."""
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """Exit code of a program that this signal ended: 130 after Ctrl-C."""
        return 128 + self.number

    @contextlib.contextmanager
    def installed(self) -> Iterator[StopSignal]:
        """Handle the signals in the `with` block; a thread other than the main one handles none."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return

        def on_signal(number: int, _: object) -> None:
            if self.number:
                raise KeyboardInterrupt
            self.number = number
            self._on_first()

        previous = {number: signal.signal(number, on_signal) for number in self._signals}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
