"""Outcomes of runs and counts of outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Outcome = Literal[
    "trained", "at chance", "diverged", "out of memory", "missing", "running", "waiting"
]
"""Outcome of a planned run. The last two exist only while a study is running."""

OUTCOMES: tuple[Outcome, ...] = (
    "trained",
    "at chance",
    "diverged",
    "out of memory",
    "missing",
    "running",
    "waiting",
)


@dataclass(frozen=True)
class OutcomeCounts:
    """Numbers of runs by outcome. They always add up to `planned`."""

    trained: int = 0
    at_chance: int = 0
    diverged: int = 0
    out_of_memory: int = 0
    missing: int = 0
    running: int = 0
    waiting: int = 0

    def count(self, outcome: Outcome) -> int:
        """Return the number of runs with an outcome."""
        match outcome:
            case "trained":
                return self.trained
            case "at chance":
                return self.at_chance
            case "diverged":
                return self.diverged
            case "out of memory":
                return self.out_of_memory
            case "missing":
                return self.missing
            case "running":
                return self.running
            case "waiting":
                return self.waiting

    @property
    def planned(self) -> int:
        """Number of planned runs."""
        return self.ended + self.running + self.waiting

    @property
    def finished(self) -> int:
        """Number of runs with a result."""
        return self.trained + self.failed

    @property
    def ended(self) -> int:
        """Number of runs that are finished or missing: the denominator of a success rate."""
        return self.finished + self.missing

    @property
    def failed(self) -> int:
        """Number of runs that ended without being trained. Each of them is a result."""
        return self.at_chance + self.diverged + self.out_of_memory

    @property
    def is_complete(self) -> bool:
        """True if every planned run has ended."""
        return self.ended == self.planned


def count_outcomes(outcomes: Iterable[Outcome]) -> OutcomeCounts:
    """Count the outcomes."""
    counts = Counter(outcomes)
    return OutcomeCounts(**{name.replace(" ", "_"): counts[name] for name in OUTCOMES})
