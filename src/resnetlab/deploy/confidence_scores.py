"""Scores of a model that can abstain: calibration, prediction sets, accuracy on the share that is
answered, and images of other things. Free of torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.deploy.metrics import roc_auc
from resnetlab.deploy.results import (
    AnsweredShare,
    Calibration,
    CalibrationBin,
    NoveltyScores,
    OodScores,
    SetScores,
)
from resnetlab.model_folder.confidence import Confidence
from resnetlab.stats.conformal import prediction_sets, threshold_groups
from resnetlab.stats.intervals import t_interval
from resnetlab.stats.proportion import proportion

NUM_BINS = 15
"""Number of bins of equal width over the highest probability (Guo et al. 2017, sec. 4)."""

DEFAULT_COVERAGE = 0.9
"""Coverage of the prediction sets that an evaluation measures if none is given."""

ANSWERED_SHARES = tuple(range(100, 0, -5))
"""Shares in percent of the images that get an answer."""


@dataclass(frozen=True)
class OodNovelty:
    """Novelty (M,) of the images in a folder of other things, and its unreadable files."""

    name: str
    novelty: NDArray[np.float64]
    bad_files: tuple[tuple[str, str], ...] = ()


def calibration_bins(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[CalibrationBin, ...]:
    """Return the bins of a reliability diagram.

    Args:
        confidence: Highest probability (N,) of each image.
        correct: True (N,) for each image that is classified correctly.
    """
    bin_index = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = []
    for k in range(NUM_BINS):
        in_bin = bin_index == k
        count = int(in_bin.sum())
        mean, accuracy = (
            100 * float(values[in_bin].mean()) if count else 0.0 for values in (confidence, correct)
        )
        bins.append(
            CalibrationBin(
                low=k / NUM_BINS,
                high=(k + 1) / NUM_BINS,
                images=count,
                confidence_pct=mean,
                accuracy_pct=accuracy,
            )
        )
    return tuple(bins)


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Return the expected calibration error in percent (Guo et al. 2017, eq. 3)."""
    total = sum(item.images for item in bins)
    return sum(item.images * abs(item.accuracy_pct - item.confidence_pct) for item in bins) / total


def compare_calibration(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    labels: NDArray[np.int64],
    temperature: float,
) -> Calibration:
    """Return the calibration of probabilities (N, K) before and after the temperature."""
    correct = after.argmax(1) == labels
    bins = [calibration_bins(values.max(1), correct) for values in (before, after)]
    losses = [
        -float(np.log(np.maximum(values[np.arange(len(labels)), labels], 1e-300)).mean())
        for values in (before, after)
    ]
    return Calibration(
        temperature=temperature,
        ece_before_pct=expected_calibration_error(bins[0]),
        ece_after_pct=expected_calibration_error(bins[1]),
        loss_before_nats=losses[0],
        loss_after_nats=losses[1],
        bins_before=bins[0],
    )


def score_sets(
    confidence: Confidence,
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    coverage: float,
    names: Sequence[str],
) -> SetScores:
    """Return the measured coverage and size of the prediction sets for a coverage.

    Args:
        confidence: Confidence of the model.
        probabilities: Probabilities (N, K) after the temperature.
        labels: Classes (N,) of the images.
        coverage: Stated coverage between 0 and 1.
        names: Names of the classes.

    Raises:
        InputError: The model has too few validation images for the coverage.
    """
    sets = prediction_sets(probabilities, confidence.thresholds(coverage))
    covered = sets[np.arange(len(labels)), labels]
    sizes, count = sets.sum(1), len(labels)
    interval = t_interval(sizes.tolist())
    groups = threshold_groups(confidence.labels, len(names), coverage)
    return SetScores(
        coverage_pct=100 * coverage,
        covered=proportion(int(covered.sum()), count),
        mean_size=float(sizes.mean()),
        mean_size_low=max(0.0, interval.low) if interval else None,
        mean_size_high=interval.high if interval else None,
        single=proportion(int((sizes == 1).sum()), count),
        empty=proportion(int((sizes == 0).sum()), count),
        class_thresholds=int((groups > 0).sum()),
        classes=tuple(
            (names[k], proportion(int(covered[labels == k].sum()), int((labels == k).sum())))
            for k in np.unique(labels).tolist()
        ),
    )


def answered_shares(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_]
) -> Iterator[AnsweredShare]:
    """Yield the accuracy on the most confident images, for each share of the images.

    This is selective classification by the highest probability (Geifman and El-Yaniv 2017).

    Args:
        confidence: Highest probability (N,) of each image.
        correct: True (N,) for each image that is classified correctly.
    """
    order = np.argsort(-confidence, kind="stable")
    for share in ANSWERED_SHARES:
        chosen = order[: math.ceil(share * len(order) / 100)]
        yield AnsweredShare(
            answered_pct=float(share),
            min_probability=float(confidence[chosen[-1]]),
            accuracy=proportion(int(correct[chosen].sum()), len(chosen)),
        )


def score_novelty(
    confidence: Confidence, novelty: NDArray[np.float64], ood: OodNovelty | None
) -> NoveltyScores:
    """Return the shares of the images that are called none of these.

    Args:
        confidence: Confidence of the model.
        novelty: Novelty (N,) of the images of the data.
        ood: Images of other things, or None.
    """
    scores = None
    if ood is not None:
        is_ood = np.repeat([False, True], [len(novelty), len(ood.novelty)])
        auc = roc_auc(is_ood, np.concatenate([novelty, ood.novelty]))
        assert auc is not None, "both sides have images"
        scores = OodScores(
            name=ood.name,
            rejected=proportion(_count_novel(confidence, ood.novelty), len(ood.novelty)),
            roc_auc=auc,
            bad_files=ood.bad_files,
        )
    return NoveltyScores(
        known_share_pct=100 * confidence.metadata.known_share,
        known_rejected=proportion(_count_novel(confidence, novelty), len(novelty)),
        ood=scores,
    )


def _count_novel(confidence: Confidence, novelty: NDArray[np.float64]) -> int:
    return sum(confidence.is_novel(value) for value in novelty.tolist())
