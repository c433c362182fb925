"""Measures of single runs: overfitting, stability of the last epochs, and the first loss.

Free of torch.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MIN_LAST_EPOCHS, MAX_LAST_EPOCHS = 3, 10
"""Smallest and largest number of epochs for the stability of a run."""


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
            (point.epoch, point.top1_error_pct)
            for point in points
            if (point.seed, point.split) == (seed, split) and point.epoch > 0
        )
        if len(curve) >= count:
            spreads.append(statistics.stdev([error for _, error in curve[-count:]]))
    return spreads


def first_losses(analysis: StudyAnalysis, label: str) -> list[float]:
    """Return the loss of each run before its first step, in nats, on the train subset."""
    return [
        point.loss_nats
        for point in analysis.points(label)
        if point.step == 0 and point.split == "train" and point.loss_nats is not None
    ]


def uniform_loss(classes: int) -> float:
    """Return the loss in nats of a network that gives each class the same probability: ln K."""
    return math.log(classes)
