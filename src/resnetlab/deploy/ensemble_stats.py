"""Statistics of an ensemble: accuracy of the mean probabilities against its members.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.deploy.results import Share, share
from resnetlab.stats.exact import mcnemar, paired_interval
from resnetlab.stats.intervals import Interval, t_interval


@dataclass(frozen=True)
class Gain:
    """Accuracy gain of the ensemble in percentage points, with its 95 % interval, paired over the
    same images.
    """

    points: float
    interval: Interval | None


@dataclass(frozen=True)
class Ensemble:
    """Accuracy of an ensemble and of its members, in the given order."""

    names: tuple[str, ...]
    members: tuple[Share, ...]
    together: Share
    best: int
    """Index of the best member. The same images select it, so its accuracy is optimistic."""
    over_best: Gain
    over_mean: Gain
    p: float
    """McNemar's exact p-value for a difference between the ensemble and the best member."""
    agreed: Share
    """Fraction of images for which all members predict the same class."""


def weigh(
    names: Sequence[str], probabilities: Sequence[NDArray[np.float64]], truth: NDArray[np.int64]
) -> Ensemble:
    """Compute the statistics of an ensemble.

    Args:
        names: Name of each member.
        probabilities: Probabilities (N, K) of each member for the same images in the same order.
        truth: Class index of each image (N,).
    """
    predicted = np.stack([each.argmax(1) for each in probabilities])  # (members, N)
    correct = predicted == truth
    combined = np.mean(probabilities, axis=0).argmax(1) == truth
    best = int(correct.sum(1).argmax())
    only_combined, only_best = (
        int((combined & ~correct[best]).sum()),
        int((~combined & correct[best]).sum()),
    )
    images = len(truth)
    gains = (combined.astype(np.float64) - correct.mean(0)) * 100
    return Ensemble(
        names=tuple(names),
        members=tuple(share(int(row.sum()), images) for row in correct),
        together=share(int(combined.sum()), images),
        best=best,
        over_best=Gain(
            100 * (only_combined - only_best) / images,
            paired_interval(only_combined, only_best, images),
        ),
        over_mean=Gain(float(gains.mean()), t_interval(gains.tolist())),
        p=mcnemar(only_combined, only_best),
        agreed=share(int((predicted == predicted[0]).all(0).sum()), images),
    )
