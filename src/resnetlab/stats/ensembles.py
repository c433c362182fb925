"""Statistics of an ensemble: accuracy of the mean probabilities against its members.

Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.stats.exact import mcnemar, paired_interval
from resnetlab.stats.intervals import POINTS_RANGE, Interval, t_interval, within_range
from resnetlab.stats.proportion import Proportion, proportion


@dataclass(frozen=True)
class AccuracyGain:
    """Accuracy gain of the ensemble in percentage points, with its 95 % interval, paired over the
    same images.
    """

    points: float
    interval: Interval | None


@dataclass(frozen=True)
class EnsembleResult:
    """Accuracy of an ensemble and of its members, in the given order."""

    names: tuple[str, ...]
    members: tuple[Proportion, ...]
    ensemble: Proportion
    best: int
    """Index of the best member. The same images select it, so its accuracy is optimistic."""
    over_best: AccuracyGain
    over_mean: AccuracyGain
    p: float
    """McNemar's exact p-value for a difference between the ensemble and the best member."""
    agreement: Proportion
    """Fraction of images for which all members predict the same class."""


def ensemble_result(
    names: Sequence[str], probabilities: Sequence[NDArray[np.float64]], labels: NDArray[np.int64]
) -> EnsembleResult:
    """Compute the statistics of an ensemble.

    Args:
        names: Name of each member.
        probabilities: Probabilities (N, K) of each member for the same images in the same order.
        labels: Class index of each image (N,).
    """
    predicted = np.stack([each.argmax(1) for each in probabilities])  # (members, N)
    correct = predicted == labels
    combined = np.mean(probabilities, axis=0).argmax(1) == labels
    best = int(correct.sum(1).argmax())
    only_combined = int((combined & ~correct[best]).sum())
    only_best = int((~combined & correct[best]).sum())
    images = len(labels)
    gains = (combined.astype(np.float64) - correct.mean(0)) * 100
    return EnsembleResult(
        names=tuple(names),
        members=tuple(proportion(int(row.sum()), images) for row in correct),
        ensemble=proportion(int(combined.sum()), images),
        best=best,
        over_best=AccuracyGain(
            100 * (only_combined - only_best) / images,
            paired_interval(only_combined, only_best, images),
        ),
        over_mean=AccuracyGain(
            float(gains.mean()), within_range(t_interval(gains.tolist()), POINTS_RANGE)
        ),
        p=mcnemar(only_combined, only_best),
        agreement=proportion(int((predicted == predicted[0]).all(0).sum()), images),
    )
