"""Hypotheses for `resnetlab.stats.verdict`, made from claims and the runs of their conditions.

Free of torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

from resnetlab.stats.hypothesis_types import (
    GREATER,
    LESS,
    Arm,
    FailureHypothesis,
    Hypothesis,
    MeansHypothesis,
    Region,
    SpeedHypothesis,
)
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval, Moments
from resnetlab.stats.outcomes import Outcome, OutcomeCounts, count_outcomes
from resnetlab.studies.claims import (
    About,
    AnyClaim,
    Average,
    Best,
    Better,
    ClaimSplit,
    Equivalent,
    Every,
    FailsAndTrains,
    Faster,
    Metric,
    MetricClaim,
    Monotone,
    Relative,
    condition_labels,
)


@dataclass(frozen=True)
class ClaimRun:
    """Planned run of a claim: its outcome and its metrics, on the test images unless named."""

    seed: int
    outcome: Outcome
    error_pct: float | None = None
    loss_nats: float | None = None
    train_error_pct: float | None = None
    train_loss_nats: float | None = None
    curves: Mapping[str, tuple[tuple[float, float], ...]] | None = None
    """Learning curves by split: pairs of epoch and accuracy in percent, in order."""
    score: float | None = None
    """Value of an imported run, with the sign that makes more better."""

    def value(self, metric: Metric, split: ClaimSplit = "test") -> float | None:
        """Return the metric on a split, with the sign chosen so that more is better."""
        if self.score is not None:
            return self.score
        train = split == "train"
        if metric == "loss":
            loss = self.train_loss_nats if train else self.loss_nats
            return None if loss is None else -loss
        error = self.train_error_pct if train else self.error_pct
        return None if error is None else (100 if metric == "top1" else 0) - error


@dataclass(frozen=True)
class ScoreScale:
    """Scale of the scores of imported runs."""

    chance: float
    """Score of a constant guess; NaN if it is unknown."""
    value_range: Interval


@dataclass(frozen=True)
class ConditionRuns:
    """Planned runs of a condition, with the accuracy of a constant guess."""

    runs: tuple[ClaimRun, ...]
    class_share: float
    """Accuracy of the best constant guess on the test images, 0 to 1; used for train images too."""
    num_classes: int
    epochs: float
    """Number of epochs of a run."""
    scale: ScoreScale | None = None
    """Scale of imported runs, whose claims compare their scores."""
    overlap: float = 0.0
    """Ratio of test to train images, if the runs are the folds of a cross-validation."""
    moments: Moments | None = None
    """Number, mean and sd of the scores, if only those are known, and no runs."""

    def arm(self, metric: Metric = "top1", split: ClaimSplit = "test") -> Arm:
        """Return the runs as an arm for the statistics.

        For a claim about loss, a trained run whose loss is not a finite number counts as
        diverged.
        """
        if self.moments is not None and self.scale is not None:
            counts = OutcomeCounts(trained=self.moments.n)
            return Arm(counts, self.moments, self.scale.chance, self.scale.value_range)
        value_by_seed = {
            run.seed: run.value(metric, split) for run in self.runs if run.outcome == "trained"
        }
        without_value = {seed for seed, value in value_by_seed.items() if value is None}
        counts = count_outcomes(
            "diverged" if run.seed in without_value else run.outcome for run in self.runs
        )
        values = tuple(sorted(value for value in value_by_seed.values() if value is not None))
        if self.scale is not None:
            return Arm(counts, values, self.scale.chance, self.scale.value_range, self.overlap)
        match metric:
            case "top1":
                return Arm(counts, values, 100 * self.class_share, ACCURACY_RANGE_PCT)
            case "error":
                return Arm(counts, values, 100 * self.class_share - 100, Interval(-100.0, 0.0))
            case "loss":
                return Arm(counts, values, -math.log(self.num_classes), Interval(-math.inf, 0.0))

    def epochs_to_accuracy(
        self, accuracy_pct: float, split: str, max_epochs: float
    ) -> tuple[float, ...]:
        """Return the first epoch with that accuracy for each run; inf if never; none if missing."""
        first_epochs = []
        for run in self.runs:
            if run.outcome in ("trained", "at chance", "diverged"):
                epochs = [
                    epoch
                    for epoch, reached_pct in _curve(run, split)
                    if reached_pct >= accuracy_pct and epoch <= max_epochs
                ]
                first_epochs.append(epochs[0] if epochs else math.inf)
        return tuple(first_epochs)


def _curve(run: ClaimRun, split: str) -> tuple[tuple[float, float], ...]:
    return (run.curves or {}).get(split, ())


def to_hypothesis(claim: AnyClaim, runs: Mapping[str, ConditionRuns]) -> Hypothesis:
    """Return a claim as a hypothesis for the statistics; `runs` has runs by condition."""
    match claim:
        case Better():
            return _two_arm_hypothesis(claim, runs, Region(claim.by_more_than, math.inf))
        case About():
            region = Region(
                claim.size - claim.effective_margin, claim.size + claim.effective_margin
            )
            return _two_arm_hypothesis(claim, runs, region, GREATER if claim.size > 0 else LESS)
        case Equivalent():
            return _two_arm_hypothesis(claim, runs, Region(-claim.margin, claim.margin))
        case FailsAndTrains():
            return FailureHypothesis((runs[claim.left].arm(), runs[claim.right].arm()))
        case Average():
            weights = Counter(claim.left)
            weights.subtract(claim.right)
            row = tuple(weights[label] / len(claim.left) for label in _labels(claim))
            return MeansHypothesis(_arms(claim, runs), (row,))
        case Every():
            pairs = zip(claim.left, claim.right, strict=True)
            return MeansHypothesis(_arms(claim, runs), _contrasts(claim, pairs))
        case Relative():
            region = Region(claim.size - claim.margin, claim.size + claim.margin)
            return MeansHypothesis(
                _arms(claim, runs),
                region=region,
                relative=True,
                ratios=_ratios(claim),
                direction=GREATER if claim.size > 0 else LESS,
            )
        case Monotone():
            steps = list(pairwise(claim.order))
            if claim.change == "improves":
                steps = [(after, before) for before, after in steps]
            return MeansHypothesis(_arms(claim, runs), _contrasts(claim, steps))
        case Best():
            rivals = [(claim.left, rival) for rival in claim.rivals]
            return MeansHypothesis(_arms(claim, runs), _contrasts(claim, rivals))
        case Faster():
            left, right = runs[claim.left], runs[claim.right]
            within, split = min(left.epochs, right.epochs), curve_split((left, right))
            times = [
                side.epochs_to_accuracy(claim.accuracy_pct, split, within) for side in (left, right)
            ]
            return SpeedHypothesis((left.arm(), right.arm()), (times[0], times[1]))
        case _:
            assert_never(claim)


def curve_split(runs: Iterable[ConditionRuns]) -> str:
    """Return the split that compares speed: test if all conditions recorded it, else validation."""
    recorded = [
        {split for run in condition.runs for split in run.curves or {}} for condition in runs
    ]
    return "test" if all("test" in splits or not splits for splits in recorded) else "validation"


def _two_arm_hypothesis(
    claim: Better | About | Equivalent,
    runs: Mapping[str, ConditionRuns],
    region: Region,
    direction: Region | None = None,
) -> MeansHypothesis:
    arms = _arms(claim, runs)
    if not claim.paired:
        return MeansHypothesis(arms, region=region, direction=direction)
    left, right = (
        {run.seed: run for run in runs[label].runs} for label in (claim.left, claim.right)
    )

    def trained_value(run: ClaimRun | None) -> float | None:
        if run is None or run.outcome != "trained":
            return None
        return run.value(claim.metric, claim.split)

    def without_partner(
        side: Mapping[int, ClaimRun], other: Mapping[int, ClaimRun]
    ) -> tuple[float, ...]:
        missing = [seed for seed, run in other.items() if run.outcome == "missing"]
        values = [trained_value(side.get(seed)) for seed in missing]
        return tuple(value for value in values if value is not None)

    values = [(trained_value(run), trained_value(right.get(seed))) for seed, run in left.items()]
    return MeansHypothesis(
        arms,
        region=region,
        # Rounded, so that equal differences of decimal numbers are equal floats.
        pairs=tuple(round(a - b, 12) for a, b in values if a is not None and b is not None),
        direction=direction,
        without_partner=(without_partner(left, right), without_partner(right, left)),
    )


def _labels(claim: MetricClaim) -> tuple[str, ...]:
    """Return the label of each arm: each condition of the claim once."""
    return tuple(dict.fromkeys(condition_labels(claim)))


def _arms(claim: MetricClaim, runs: Mapping[str, ConditionRuns]) -> tuple[Arm, ...]:
    return tuple(runs[label].arm(claim.metric, claim.split) for label in _labels(claim))


def _ratios(claim: Relative) -> tuple[tuple[int, int], ...]:
    """Return the positions of the arms of each pair of conditions."""
    labels = _labels(claim)
    pairs = zip(claim.left, claim.right, strict=True)
    return tuple((labels.index(left), labels.index(right)) for left, right in pairs)


def _contrasts(
    claim: MetricClaim, pairs: Iterable[tuple[str, str]]
) -> tuple[tuple[float, ...], ...]:
    """Return the weights of the arms in the difference of each pair of conditions."""
    labels = _labels(claim)
    return tuple(
        tuple(float(label == left) - float(label == right) for label in labels)
        for left, right in pairs
    )
