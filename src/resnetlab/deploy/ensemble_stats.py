"""The mean of several models' probabilities, and whether it is better than they are. Free of torch."""

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
    """How many per cent points the ensemble is better, with its 95 % interval, paired over the same images."""

    points: float
    interval: Interval | None


@dataclass(frozen=True)
class Ensemble:
    """The members in the order given, and the mean of their probabilities."""

    names: tuple[str, ...]
    members: tuple[Share, ...]
    together: Share
    best: int
    """Which member is the best on these images: chosen by them, so that it is flattered."""
    over_best: Gain
    over_mean: Gain
    p: float
    """McNemar's exact p of "the ensemble and the best member differ on such images"."""
    agreed: Share
    """Images of which all members say the same."""


def weigh(names: Sequence[str], probabilities: Sequence[NDArray[np.float64]], truth: NDArray[np.int64]) -> Ensemble:
    """The ensemble of members whose `probabilities` (N, K) are of the same images, in the same order."""
    said = np.stack([each.argmax(1) for each in probabilities])  # (members, N)
    right = said == truth
    joint = np.mean(probabilities, axis=0).argmax(1) == truth
    best = int(right.sum(1).argmax())
    only_joint, only_best = int((joint & ~right[best]).sum()), int((~joint & right[best]).sum())
    images = len(truth)
    gains = (joint.astype(np.float64) - right.mean(0)) * 100
    return Ensemble(
        names=tuple(names), members=tuple(share(int(row.sum()), images) for row in right),
        together=share(int(joint.sum()), images), best=best,
        over_best=Gain(100 * (only_joint - only_best) / images, paired_interval(only_joint, only_best, images)),
        over_mean=Gain(float(gains.mean()), t_interval(gains.tolist())),
        p=mcnemar(only_joint, only_best), agreed=share(int((said == said[0]).all(0).sum()), images),
    )  # fmt: skip
