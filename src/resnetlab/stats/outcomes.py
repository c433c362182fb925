"""Outcomes of runs, the test for accuracy at chance level, and counts of outcomes."""

from __future__ import annotations

import math
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

FALSE_POSITIVE_RATE = 1e-4
"""Probability, over all evaluations of a run, that a network without learning is called trained."""


def chance_upper_bound_pct(class_share: float, images: int, evaluations: int) -> float:
    """Return the highest accuracy in percent that a network at chance level reaches by luck.

    A network that always guesses the largest class is correct on a binomial number of `images`,
    with the probability `class_share` (0 to 1). The bound is the quantile of that number at 1 -
    1e-4 / `evaluations`, since the best of so many evaluations is compared with it (Bonferroni).
    Example: it is 11.13 % for ten equal classes, 10,000 images and one evaluation.
    """
    from scipy.special import bdtr, bdtrik

    if class_share >= 1:
        return 100.0
    probability = 1 - FALSE_POSITIVE_RATE / max(1, evaluations)
    hits = math.ceil(
        float(bdtrik(probability, images, class_share))
    )  # the cdf reaches `probability` at this real number
    while (
        hits > 0 and bdtr(hits - 1, images, class_share) >= probability
    ):  # rounding may make it one too high
        hits -= 1
    return 100 * hits / images


def is_at_chance(
    best_accuracy_pct: float, class_share: float, images: int, evaluations: int
) -> bool:
    """Return True if luck explains the best accuracy (in percent) of a run's evaluations."""
    return (
        best_accuracy_pct <= chance_upper_bound_pct(class_share, images, evaluations) + 1e-9
    )  # 1e-9 allows for rounding


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

    @property
    def planned(self) -> int:
        """Return the number of planned runs."""
        return self.finished + self.running + self.waiting

    @property
    def finished(self) -> int:
        """Return the number of runs that will not go on: the denominator of a success rate."""
        return self.trained + self.failed + self.missing

    @property
    def failed(self) -> int:
        """Return the number of runs that ended without being trained. Each of them is a result."""
        return self.at_chance + self.diverged + self.out_of_memory

    @property
    def complete(self) -> bool:
        """Return whether every planned run is finished."""
        return self.finished == self.planned


def count_outcomes(outcomes: Iterable[Outcome]) -> OutcomeCounts:
    """Count the outcomes."""
    counts = Counter(outcomes)
    return OutcomeCounts(**{name.replace(" ", "_"): counts[name] for name in OUTCOMES})
