"""Orderly stop of a command by Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from resnetlab.cli.common import notify


class SignalFlag:
    """Flag that SIGINT or SIGTERM sets, with the number of the signal.

    Args:
        message: Line that the first signal prints; the default is that of training.
    """

    def __init__(self, message: str = "Stopping: each run writes a checkpoint.") -> None:
        self.number = 0
        self._message = message

    def is_set(self) -> bool:
        """Return True after the first signal."""
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """Exit code of a program that this signal ended: 130 after Ctrl-C."""
        return 128 + self.number

    @contextlib.contextmanager
    def installed(self) -> Iterator[SignalFlag]:
        """Handle signals in the `with` block: the first sets the flag, the second ends the program.

        Runs stay resumable in both cases.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return

        def on_signal(number: int, _: object) -> None:
            if self.number:
                raise KeyboardInterrupt
            self.number = number
            notify(f"\n{self._message}")

        previous = {
            number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
