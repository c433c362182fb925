"""Bias of keeping the first run that converged, computed from the runs of a study.

Someone who trains a network again until a run is trained, and reports that run, reports one of the
trained runs. If the runs come in any order with the same probability, each trained run is equally
likely to be the first one. So the tables that this rule could have given can be counted exactly.
Free of torch.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnetlab.stats.intervals import mean

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MAX_TABLES = 200_000
"""Largest number of tables that are enumerated for a group of networks."""


@dataclass(frozen=True)
class FirstConverged:
    """Values that the rule could have given for a condition, with the mean of all its runs."""

    label: str
    trained_pct: tuple[float, ...]
    """Accuracy of each trained run."""
    ended: int
    all_mean_pct: float | None
    """Mean accuracy of all runs; a diverged run counts with the accuracy of a constant guess."""

    @property
    def expected_pct(self) -> float | None:
        """Expected accuracy of the rule, or None if no run is trained."""
        return mean(self.trained_pct) if self.trained_pct else None

    @property
    def bias(self) -> float | None:
        """Expected accuracy minus the mean of all runs, in points."""
        if self.expected_pct is None or self.all_mean_pct is None:
            return None
        return self.expected_pct - self.all_mean_pct

    @property
    def expected_runs(self) -> float | None:
        """Expected number of runs until one is trained, in a random order of the runs.

        Of n runs in a random order, the first of m marked ones has the expected place
        (n + 1) / (m + 1).
        """
        m = len(self.trained_pct)
        return (self.ended + 1) / (m + 1) if m else None


@dataclass(frozen=True)
class Ordering:
    """Ordering of networks, the most accurate first, with the number of tables that have it."""

    text: str
    tables: int


@dataclass(frozen=True)
class OrderingGroup:
    """Orderings that the rule could have given for networks of one kind."""

    labels: tuple[str, ...]
    tables: int
    """Number of tables: each has one trained run of each network."""
    orderings: tuple[Ordering, ...]
    """Orderings from the most to the least frequent; empty if there are too many tables."""
    mean_ordering: str
    """Ordering of the means of all runs."""


def first_converged(analysis: StudyAnalysis) -> tuple[FirstConverged, ...]:
    """Return the values that the rule could have given for each condition with a finished run."""
    return tuple(
        FirstConverged(label, summary.trained_pct, summary.counts.ended, summary.all_mean_pct)
        for label, summary in analysis.summaries.items()
        if summary.counts.ended
    )


def ordering_groups(conditions: Sequence[FirstConverged]) -> tuple[OrderingGroup, ...]:
    """Count the orderings within each kind of network: labels that differ in their first number.

    A network without a trained run cannot be in a table of the rule, so it is left out.
    """
    groups: dict[str, list[FirstConverged]] = {}
    for condition in conditions:
        kind = re.sub(r"\d+", "#", condition.label, count=1)
        groups.setdefault(kind, []).append(condition)
    return tuple(
        _group(trained)
        for members in groups.values()
        if len(trained := [member for member in members if member.trained_pct]) > 1
    )


def _group(members: Sequence[FirstConverged]) -> OrderingGroup:
    labels = tuple(member.label for member in members)
    tables = math.prod(len(member.trained_pct) for member in members)
    counts: Counter[str] = Counter()
    if tables <= MAX_TABLES:
        for table in itertools.product(*(member.trained_pct for member in members)):
            counts[ordering_text(dict(zip(labels, table, strict=True)))] += 1
    means = {member.label: member.all_mean_pct or 0.0 for member in members}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    orderings = tuple(Ordering(text, count) for text, count in ordered)
    return OrderingGroup(labels, tables, orderings, ordering_text(means))


def ordering_text(accuracies: Mapping[str, float]) -> str:
    """Return networks by falling accuracy: `a > b = c`."""
    ordered = sorted(accuracies, key=lambda label: -accuracies[label])
    parts = [ordered[0]]
    for above, label in itertools.pairwise(ordered):
        parts.append(f"{'=' if accuracies[above] == accuracies[label] else '>'} {label}")
    return " ".join(parts)
