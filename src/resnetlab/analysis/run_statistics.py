"""Statistics of single runs: overfitting, stability of the last epochs, and the first loss.

Free of torch.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MIN_LAST_EPOCHS, MAX_LAST_EPOCHS = 3, 10
"""Smallest and largest number of epochs for the stability of a run."""

FAR_FROM_UNIFORM_NATS = 0.5
"""Distance from ln K from which a first loss is not called close to it."""

FirstLossMode = Literal["training", "evaluation"]
"""Mode of the network in which its loss before the first step was measured."""


def overfitting_gaps(analysis: StudyAnalysis, label: str) -> list[float]:
    """Return the train accuracy minus the test accuracy of each trained run, in points.

    The train accuracy is that of the fixed train subset in evaluation mode.
    """
    return [
        row.test_error_pct - row.train_error_pct
        for row in analysis.rows(label)
        if row.status == "trained"
        and row.test_error_pct is not None
        and row.train_error_pct is not None
    ]


def num_last_epochs(analysis: StudyAnalysis) -> int:
    """Return the number of epochs for the stability of a study's runs: a fifth of the shortest
    training, from 3 to 10.
    """
    epochs = [
        condition.recipe.num_epochs(analysis.data(condition.label).train_images)
        for condition in analysis.study.conditions
    ]
    return max(MIN_LAST_EPOCHS, min(MAX_LAST_EPOCHS, int(min(epochs, default=0)) // 5))


def spreads_of_last_epochs(analysis: StudyAnalysis, label: str) -> list[float]:
    """Return the stability of each trained run: the standard deviation of its accuracy over the
    last recorded epochs, in points.

    The accuracy is that of the test images, or of the validation images if no test curve was
    recorded. A run with fewer recorded epochs has no value.
    """
    count = num_last_epochs(analysis)
    points = analysis.points(label)
    split = "test" if any(point.split == "test" for point in points) else "validation"
    trained = {row.seed for row in analysis.rows(label) if row.status == "trained"}
    spreads = []
    for seed in sorted(trained):
        curve = sorted(
            (point.epoch, point.accuracy_pct)
            for point in points
            if (point.seed, point.split) == (seed, split) and point.epoch > 0
        )
        if len(curve) >= count:
            spreads.append(statistics.stdev([accuracy for _, accuracy in curve[-count:]]))
    return spreads


@dataclass(frozen=True)
class FirstLosses:
    """Losses of a condition's runs before the first step, on the train images of the curve."""

    mode: FirstLossMode
    """Mode of the network. Only in training mode does batch normalization normalize: before the
    first step its running statistics are still mean 0 and variance 1."""
    nats: tuple[float, ...]


def first_losses(analysis: StudyAnalysis, label: str) -> FirstLosses:
    """Return the loss of each run before its first step, in training mode if it was recorded.

    Runs of older versions recorded it in evaluation mode alone.
    """
    split_of_mode: dict[FirstLossMode, str] = {
        "training": "train epoch",
        "evaluation": "train",
    }
    by_mode = {
        mode: tuple(
            point.loss_nats
            for point in analysis.points(label)
            if point.step == 0 and point.split == split and point.loss_nats is not None
        )
        for mode, split in split_of_mode.items()
    }
    if len(by_mode["training"]) >= len(by_mode["evaluation"]):
        return FirstLosses("training", by_mode["training"])
    return FirstLosses("evaluation", by_mode["evaluation"])


def uniform_loss(num_classes: int) -> float:
    """Return the loss in nats of a network that gives each class the same probability: ln K."""
    return math.log(num_classes)


def is_far_from_uniform(loss_nats: float, num_classes: int) -> bool:
    """Return True if a loss is not close to that of a uniform guess."""
    return abs(loss_nats - uniform_loss(num_classes)) > FAR_FROM_UNIFORM_NATS
