"""What became of a run, and how runs are counted. Decides nothing about conditions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["converged", "dead", "diverged", "out of memory", "missing", "running", "waiting"]
"""Every planned run has one. The last two stand only while a study runs."""

OUTCOMES: tuple[Outcome, ...] = ("converged", "dead", "diverged", "out of memory", "missing", "running", "waiting")

FALSE_ALARM = 1e-4
"""Chance that a network which learned nothing is called converged in one whole run."""


def chance_bound_pct(class_share: float, images: int, evaluations: int) -> float:
    """The highest accuracy in percent that luck explains: `class_share` is that of the largest class (0 to 1).

    A network that always guesses one class is right on a binomial number of `images`; the bound is its quantile at
    1 - 1e-4 / `evaluations`, since the best of that many looks is held against it (Bonferroni). For ten equal classes,
    10,000 images and one look: 11.13 %.
    """
    from scipy.special import bdtr, bdtrik

    if class_share >= 1:
        return 100.0
    wanted = 1 - FALSE_ALARM / max(1, evaluations)
    hits = math.ceil(float(bdtrik(wanted, images, class_share)))  # the real number at which the cdf is `wanted`
    while hits > 0 and bdtr(hits - 1, images, class_share) >= wanted:  # rounding may lift it one too high
        hits -= 1
    return 100 * hits / images


def is_dead(best_accuracy_pct: float, class_share: float, images: int, evaluations: int) -> bool:
    """Whether a run never left chance: its best accuracy (in percent) over its evaluations is within luck's reach."""
    return best_accuracy_pct <= chance_bound_pct(class_share, images, evaluations) + 1e-9  # 1e-9: rounding


@dataclass(frozen=True)
class Counts:
    """How many runs of each outcome; they add up to `planned`, whatever happened."""

    converged: int = 0
    dead: int = 0
    diverged: int = 0
    out_of_memory: int = 0
    missing: int = 0
    running: int = 0
    waiting: int = 0

    @property
    def planned(self) -> int:
        return self.finished + self.running + self.waiting

    @property
    def finished(self) -> int:
        """Runs of which nothing more will come: the denominator of a success rate."""
        return self.converged + self.failed + self.missing

    @property
    def failed(self) -> int:
        """Runs that ended otherwise than converged, each of which is a result."""
        return self.dead + self.diverged + self.out_of_memory

    @property
    def complete(self) -> bool:
        return self.finished == self.planned


def count(outcomes: Iterable[Outcome]) -> Counts:
    """The outcomes, counted."""
    found = Counter(outcomes)
    return Counts(**{name.replace(" ", "_"): found[name] for name in OUTCOMES})
