"""Hypotheses that claims become: the arms, the effect and the region of a claim. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from resnetlab.stats import contrasts
from resnetlab.stats.contrasts import Effect, contrast_range
from resnetlab.stats.intervals import (
    ACCURACY_RANGE_PCT,
    Interval,
    Moments,
    Sample,
    hurdle_interval,
    mean,
)
from resnetlab.stats.outcomes import OutcomeCounts


class Region(NamedTuple):
    """Open interval in which the effect lies if the claim is true."""

    low: float
    high: float


GREATER = Region(0.0, math.inf)
LESS = Region(-math.inf, 0.0)


@dataclass(frozen=True)
class Arm:
    """Arm of a claim: a condition's runs, larger being better (accuracy, minus loss)."""

    counts: OutcomeCounts
    trained: tuple[float, ...] | Moments
    """Values of the trained runs. Of a published mean, sd and n, no run is known to have failed."""
    chance: float
    """Value of a constant guess; NaN if it is unknown."""
    value_range: Interval = ACCURACY_RANGE_PCT
    """Range of possible values."""
    overlap: float = 0.0
    """Ratio of test to train images, if the runs are the folds of a cross-validation."""

    def missing_run_cases(self) -> list[Sample]:
        """Return the values with missing runs at chance, and as the mean of the trained."""
        trained, missing = self.trained, self.counts.missing
        if isinstance(trained, Moments):
            return [trained]
        return [trained, (*trained, *[mean(trained)] * missing)] if missing else [trained]

    def interval_over_all_runs(self, trained: Sample) -> Interval:
        """Return the 95 % interval of the mean over all runs, from the trained ones' values."""
        assert not isinstance(trained, Moments)  # it has no failed runs
        return hurdle_interval(
            trained,
            self.counts.ended,
            self.chance,
            value_range=self.value_range,
            overlap=self.overlap,
        )


@dataclass(frozen=True)
class MeansHypothesis:
    """Claim about means: each contrast (a row of weights, one an arm) lies in the region.

    Several contrasts form an intersection-union test: the largest one-sided p counts, without a
    correction (Berger 1982). A contrast that goes the other way after Holm's correction contradicts
    the claim. `pairs` has the differences of paired runs if the runs share more than a seed. With
    `relative` the effect is the mean difference of `ratios` in percent of right.

    A condition is one arm, however often the claim names it: its runs are the same each time.

    A pair that lacks a run is tested in both cases of that run: as failed, so that the pair is
    dropped, and as the mean of the trained runs of its arm.
    """

    arms: tuple[Arm, ...]
    weights: tuple[tuple[float, ...], ...] = ((1.0, -1.0),)
    region: Region = GREATER
    relative: bool = False
    ratios: tuple[tuple[int, int], ...] = ((0, 1),)
    """Positions of the left arm and of the right arm of each ratio, with `relative`."""
    pairs: tuple[float, ...] | None = None
    direction: Region | None = None
    """Direction of a claim about a size; it gets a verdict of its own."""
    without_partner: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    """Values of the trained runs whose partner is missing, in the left arm and in the right one."""

    @property
    def overlap(self) -> float:
        """Ratio of test to train images, if the runs are folds."""
        return self.arms[0].overlap

    @property
    def arm_sizes(self) -> tuple[int, ...]:
        """Number of values in each arm, for a forecast."""
        if self.pairs is not None:
            return (len(self.pairs),)
        return tuple(len(arm.trained) for arm in self.arms)

    def effects(self, values: Sequence[Sample]) -> list[Effect]:
        """Return the effect of each contrast from the values of the trained runs of each arm."""
        if self.relative:
            return [contrasts.relative_difference(values, self.ratios)]
        if self.pairs is not None:
            effects = [contrasts.paired_difference(self._all_pairs(values), self.overlap)]
        else:
            effects = [contrasts.contrast(values, row, self.overlap) for row in self.weights]
        ranges = [arm.value_range for arm in self.arms]
        return [
            replace(effect, value_range=contrast_range(ranges, row))
            for effect, row in zip(effects, self.weights, strict=True)
        ]

    def _all_pairs(self, values: Sequence[Sample]) -> tuple[float, ...]:
        """Return the differences of the pairs, with those whose missing run `values` has."""
        assert self.pairs is not None
        left, right = (arm.trained for arm in self.arms)
        assert not isinstance(left, Moments)
        assert not isinstance(right, Moments)
        lefts, rights = self.without_partner
        more = []
        if len(values[1]) > len(right):
            more += [value - mean(right) for value in lefts]
        if len(values[0]) > len(left):
            more += [mean(left) - value for value in rights]
        return (*self.pairs, *more)


@dataclass(frozen=True)
class FailureHypothesis:
    """Claim that the first arm fails to train (at chance or diverged) and the second one trains."""

    arms: tuple[Arm, Arm]


@dataclass(frozen=True)
class SpeedHypothesis:
    """Claim that the first arm reaches an accuracy in fewer epochs.

    `epochs` has a time for each run that is not missing. It is inf if the run did not reach the
    accuracy within the epochs that both arms were given.
    """

    arms: tuple[Arm, Arm]
    epochs: tuple[tuple[float, ...], tuple[float, ...]]


Hypothesis = MeansHypothesis | FailureHypothesis | SpeedHypothesis
