"""Arms of statistical tests whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

from resnetlab.stats.hypothesis_types import Arm
from resnetlab.stats.intervals import Interval, summarize


def arm(
    values: Sequence[float] = (),
    bounds: tuple[float, float] | None = None,
    chance: float = 10.0,
    **others: Sequence[float],
) -> Arm:
    """Return an arm with these trained values, and others given as outcome = values."""
    runs = [("trained", value) for value in values]
    for outcome, other_values in others.items():
        runs += [(outcome.replace("_", " "), value) for value in other_values]
    summary = summarize(runs, chance)
    return Arm(
        summary.counts, summary.trained_pct, chance, *([Interval(*bounds)] if bounds else [])
    )
