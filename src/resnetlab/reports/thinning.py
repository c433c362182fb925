"""Parts of large figures and tables that a page shows: the others stay in the CSV files."""

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


def part_of(limit: int, parts: int) -> int:
    """Return the share of each of `parts` groups in a limit of all, at least 2."""
    return max(2, limit // max(1, parts))


def first_of(items: Sequence[T], limit: int, is_first: Callable[[T], bool]) -> tuple[T, ...]:
    """Return at most `limit` items in their order: those for which `is_first` is true, then the
    first of the others.
    """
    if len(items) <= limit:
        return tuple(items)
    ranked = sorted(range(len(items)), key=lambda index: not is_first(items[index]))
    return tuple(items[index] for index in sorted(ranked[:limit]))


def spread(items: Sequence[T], limit: int, value: Callable[[T], Any]) -> tuple[T, ...]:
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
