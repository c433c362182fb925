"""Novelty of an image: how unlike the training images it is, from three measures.

1. Margin: minus the log-odds of the most probable class (maximum softmax probability; Hendrycks and
   Gimpel 2017).
2. Logit: minus the largest logit, which also falls if no class fits (Vaze et al. 2022, "Open-set
   recognition: a good closed-set classifier is all you need").
3. Distance: mean Euclidean distance to the nearest training images of the nearest class, for
   features of length 1 (Sun et al. 2022, "Out-of-distribution detection with deep nearest
   neighbors").

Which of them detects images of other things depends on the network and on the classes, and no such
images are known when a model is made. So the weights come from the known classes: each of them is
left out in turn, and its images play those of other things, as in the ensembles of Vyas et al.
(2018). Leaving a class out removes its logit and its training images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.stats.temperature import log_sum_exp

MEASURES = ("margin", "logit", "distance")

NEAREST_IMAGES = 5
"""Training images of a class whose mean distance counts; a class with fewer uses all."""

MAX_LEFT_OUT = 100
"""Largest number of classes that are left out in turn, evenly spaced among all."""

MIN_CLASSES = 3
"""Smallest number of classes that gives weights: with one class left out, two must remain."""


@dataclass(frozen=True)
class NoveltyWeights:
    """Standardization and weight of each measure, in the order of `MEASURES`."""

    means: tuple[float, ...]
    stds: tuple[float, ...]
    weights: tuple[float, ...]
    """Weights of the standardized measures, none below 0."""


def normalize_rows(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return features (N, F) divided by their Euclidean length; a row of zeros stays as it is."""
    values = features.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    normalized: NDArray[np.float32] = values / np.maximum(lengths, np.finfo(np.float32).tiny)
    return normalized


def class_distances(
    features: NDArray[np.floating],
    reference: NDArray[np.floating],
    reference_labels: NDArray[np.int64],
    num_classes: int,
) -> NDArray[np.float64]:
    """Return the mean distance (N, K) to the nearest reference images of each class.

    Args:
        features: Features (N, F) of the images, of any length.
        reference: Features (R, F) of training images, of length 1.
        reference_labels: Classes (R,) of these images, each class at least once.
        num_classes: Number of classes K.
    """
    cosines = normalize_rows(features) @ reference.astype(np.float32, copy=False).T
    distances = np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0))
    columns = []
    for label in range(num_classes):
        of_class = distances[:, reference_labels == label]
        count = min(NEAREST_IMAGES, of_class.shape[1])
        columns.append(np.partition(of_class, count - 1, axis=1)[:, :count].mean(1))
    return np.stack(columns, 1)


def novelty_measures(
    logits: NDArray[np.float64], distances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the measures (N, 3) in the order of `MEASURES`; a larger value is more novel.

    Args:
        logits: Logits (N, K) of at least two classes.
        distances: Distances (N, K) of `class_distances`.
    """
    rows, best = np.arange(len(logits)), logits.argmax(1)
    others = logits.copy()
    others[rows, best] = -np.inf
    margin = log_sum_exp(others) - logits[rows, best]
    return np.stack([margin, -logits[rows, best], distances.min(1)], 1)


def novelty_scores(
    logits: NDArray[np.float64], distances: NDArray[np.float64], weights: NoveltyWeights
) -> NDArray[np.float64]:
    """Return the novelty (N,): the weighted sum of the standardized measures."""
    measures = novelty_measures(logits, distances)
    scores: NDArray[np.float64] = (
        (measures - weights.means) / weights.stds @ np.array(weights.weights)
    )
    return scores


def fit_novelty_weights(
    logits: NDArray[np.float64], distances: NDArray[np.float64], labels: NDArray[np.int64]
) -> NoveltyWeights:
    """Return the weights by a logistic regression on known classes that are left out in turn.

    The images of the class that is left out are the novel ones, all others the known ones; both
    sides have the same total weight. No weight is negative, since a larger value of every measure
    is more novel. A normal prior around equal weights of 1 decides while there are few images, and
    it alone with fewer than `MIN_CLASSES` classes.

    Args:
        logits: Logits (N, K) of images that the network was not trained on.
        distances: Distances (N, K) of `class_distances`.
        labels: Classes (N,) of these images.
    """
    measures = novelty_measures(logits, distances)
    means, stds = measures.mean(0), np.maximum(measures.std(0), 1e-9)
    weights = np.ones(len(MEASURES))
    if logits.shape[1] >= MIN_CLASSES:
        samples, novel = _leave_classes_out(logits, distances, labels)
        weights = _logistic_weights((samples - means) / stds, novel, len(labels))
    return NoveltyWeights(tuple(means.tolist()), tuple(stds.tolist()), tuple(weights.tolist()))


def _leave_classes_out(
    logits: NDArray[np.float64], distances: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the measures (M, 3) without one class, for each class in turn, and True (M,) for the
    images of that class.
    """
    classes = np.unique(labels)
    count = min(MAX_LEFT_OUT, len(classes))
    chosen = classes[np.linspace(0, len(classes) - 1, count).round().astype(np.int64)]
    samples, novel = [], []
    for label in chosen.tolist():
        samples.append(
            novelty_measures(np.delete(logits, label, 1), np.delete(distances, label, 1))
        )
        novel.append(labels == label)
    return np.concatenate(samples), np.concatenate(novel)


def _logistic_weights(
    samples: NDArray[np.float64], novel: NDArray[np.bool_], num_images: int
) -> NDArray[np.float64]:
    """Return the weights (3,) of a logistic regression with a normal prior around 1.

    The samples of each side together weigh as much as half of the images, which the prior is
    compared with: one image takes part in many samples.
    """
    from scipy.optimize import minimize

    signs = np.where(novel, 1.0, -1.0)
    shares = np.where(novel, 0.5 / max(novel.sum(), 1), 0.5 / max((~novel).sum(), 1))

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = values[:-1], values[-1]
        margins = signs * (samples @ weights + bias)
        total = num_images * shares @ np.logaddexp(0, -margins)
        slopes = -num_images * shares * signs / (1 + np.exp(np.clip(margins, -500, 500)))
        gradient = np.append(samples.T @ slopes + weights - 1, slopes.sum())
        return float(total + 0.5 * ((weights - 1) ** 2).sum()), gradient

    bounds = [(0.0, None)] * samples.shape[1] + [(None, None)]
    start = np.append(np.ones(samples.shape[1]), 0.0)
    minimum = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    weights: NDArray[np.float64] = minimum.x[:-1]
    return weights
