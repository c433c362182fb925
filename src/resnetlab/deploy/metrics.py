"""Metrics of classification beside accuracy, for data whose classes are uneven.

Definitions are those of scikit-learn, with which the tests compare them. Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AverageScores:
    """Averages over the classes of the data, in percent."""

    balanced_accuracy_pct: float
    """Mean recall of the classes, each with the same weight."""
    macro_f1_pct: float
    """Mean F1 of the classes, each with the same weight."""
    weighted_f1_pct: float
    """Mean F1 of the classes, weighted by their images."""


def f1_by_class(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], outputs: int
) -> NDArray[np.float64]:
    """Return F1 in percent for each output of the model (K,); 0 where it is never right.

    Args:
        labels: True classes (N,).
        predicted: Predicted classes (N,).
        outputs: Number of classes K.
    """
    right = np.bincount(labels[labels == predicted], minlength=outputs)
    total = np.bincount(labels, minlength=outputs) + np.bincount(predicted, minlength=outputs)
    f1: NDArray[np.float64] = 200 * right / np.maximum(total, 1)
    return f1


def average_scores(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> AverageScores:
    """Return the averages over the classes that occur in `labels` (N,).

    An image that is predicted as a class that the data lack lowers the recall of its own class.
    """
    outputs = int(max(labels.max(), predicted.max())) + 1
    counts = np.bincount(labels, minlength=outputs)
    right = np.bincount(labels[labels == predicted], minlength=outputs)
    occurs = counts > 0
    f1 = f1_by_class(labels, predicted, outputs)[occurs]
    return AverageScores(
        balanced_accuracy_pct=float(100 * (right[occurs] / counts[occurs]).mean()),
        macro_f1_pct=float(f1.mean()),
        weighted_f1_pct=float(np.average(f1, weights=counts[occurs])),
    )


def roc_auc(is_class: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Return the area under the ROC curve of one class against the rest; ties count one half.

    None unless there are images of the class and others. It is the share of pairs of an image of
    the class and another whose scores (N,) are in the right order (Fawcett 2006, sec. 7).
    """
    positives, negatives = int(is_class.sum()), int((~is_class).sum())
    if not positives or not negatives:
        return None
    order = np.sort(scores[~is_class])
    below = np.searchsorted(order, scores[is_class], side="left")
    not_above = np.searchsorted(order, scores[is_class], side="right")
    return float((below + not_above).sum() / (2 * positives * negatives))


def average_precision(is_class: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Return the average precision of one class: the mean precision over the steps of recall.

    None unless there are images of the class and others. Images with equal scores (N,) count
    together.
    """
    positives = int(is_class.sum())
    if not positives or positives == len(scores):
        return None
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.diff(scores[order]) != 0, True)  # the last image of each group of ties
    hits = np.cumsum(is_class[order])[ends]
    precision = hits / (np.flatnonzero(ends) + 1)
    steps = np.diff(hits, prepend=0) / positives
    return float((precision * steps).sum())
