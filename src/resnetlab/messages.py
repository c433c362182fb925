"""Callbacks for messages and progress of slow work. Imports no other module of resnetlab."""

from __future__ import annotations

from collections.abc import Callable

Notify = Callable[[str], None]
"""Function that receives one line about slow work."""

ItemCallback = Callable[[str, int, int], None]
"""Function that receives the task, the number of finished items, and the number of all items."""


def silent(*_: object) -> None:
    """Ignore a message or a report of progress."""
