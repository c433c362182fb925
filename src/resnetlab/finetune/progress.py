"""How far a long step is, told to whoever shows it. Free of torch."""

from __future__ import annotations

from collections.abc import Callable

Pulse = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def silent(_: str, __: int, ___: int) -> None:
    """Show nothing."""
