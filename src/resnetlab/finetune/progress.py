"""Progress callback of long steps. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable

ItemCallback = Callable[[str, int, int], None]
"""Callback with the name of the step, the number of finished items and their total."""


def silent(_: str, __: int, ___: int) -> None:
    """Ignore the progress."""
