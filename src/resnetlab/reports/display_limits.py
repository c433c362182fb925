"""Limits of the rows, dots and curves that a page shows. The CSV files have all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

MAX_ROWS = 50
"""Largest number of conditions in the first figure."""
MAX_DOTS = 2000
"""Largest number of dots in the first figure."""
MAX_LINES = 500
"""Largest number of curves of runs in a figure of learning curves."""
MAX_RUNS = 1000
"""Largest number of rows in the table of all runs."""


def limit_per_group(limit: int, groups: int) -> int:
    """Divide a limit of all items by the number of groups; the result is at least 2."""
    return max(2, limit // max(1, groups))


def select_first(items: Sequence[T], limit: int, is_first: Callable[[T], bool]) -> tuple[T, ...]:
    """Return at most `limit` items in their order.

    Items for which `is_first` is true are preferred to the others, and earlier ones to later ones.
    """
    if len(items) <= limit:
        return tuple(items)
    ranked = sorted(range(len(items)), key=lambda index: not is_first(items[index]))
    return tuple(items[index] for index in sorted(ranked[:limit]))


def select_evenly(items: Sequence[T], limit: int, value: Callable[[T], Any]) -> tuple[T, ...]:
    """Return at most `limit` items in their order, evenly spaced by the rank of their `value`.

    The items with the lowest and the highest value are among them, so that the range and the shape
    of the distribution stay.
    """
    count = len(items)
    if count <= limit:
        return tuple(items)
    ranked = sorted(range(count), key=lambda index: value(items[index]))
    chosen = {ranked[round(step * (count - 1) / (limit - 1))] for step in range(limit)}
    return tuple(items[index] for index in sorted(chosen))
