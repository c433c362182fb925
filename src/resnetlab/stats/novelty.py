"""Novelty of an image: how unlike the training images it is, from two measures.

1. Distance: mean Euclidean distance to the nearest training images of the nearest class, for
   features of length 1 (Sun et al. 2022, "Out-of-distribution detection with deep nearest
   neighbors").
2. Margin: minus the log-odds of the most probable class (maximum softmax probability; Hendrycks and
   Gimpel 2017).

A measure counts only above its median over the validation images: a network may be very confident
of an image that is far from all training images, and this must not make up for the distance. The
margin counts half, since the distance detects images of other things better in
`benchmarks/coverage_of_sets.py`. Weights that are learned by leaving out known classes were worse:
the classifier has seen the images of these classes, so its logits are lower for them than for
images of new classes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.stats.temperature import log_sum_exp

MEASURE_WEIGHTS = {"distance": 1.0, "margin": 0.5}
"""Weight of each measure."""

NEAREST_IMAGES = 5
"""Training images of a class whose mean distance counts; a class with fewer uses all."""

MAX_DISTANCES = 4_000_000
"""Number of distances that are in memory at a time."""


@dataclass(frozen=True)
class NoveltyScale:
    """Median and standard deviation of each measure over the validation images."""

    medians: tuple[float, ...]
    stds: tuple[float, ...]


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
    order = np.argsort(reference_labels, kind="stable")
    ends = np.cumsum(np.bincount(reference_labels, minlength=num_classes)).tolist()
    by_class = reference[order].astype(np.float32, copy=False)
    result = np.empty((len(features), num_classes))
    block = max(1, MAX_DISTANCES // len(reference))
    for start in range(0, len(features), block):
        rows = slice(start, start + block)
        cosines = normalize_rows(features[rows]) @ by_class.T
        distances = np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0))
        for label, (begin, end) in enumerate(itertools.pairwise([0, *ends])):
            count = min(NEAREST_IMAGES, end - begin)
            nearest = np.partition(distances[:, begin:end], count - 1, axis=1)[:, :count]
            result[rows, label] = nearest.mean(1)
    return result


def novelty_measures(
    logits: NDArray[np.float64], distances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the measures (N, 2) in the order of `MEASURE_WEIGHTS`; a larger value is more novel.

    Args:
        logits: Logits (N, K) of at least two classes.
        distances: Distances (N, K) of `class_distances`.
    """
    rows, best = np.arange(len(logits)), logits.argmax(1)
    others = logits.copy()
    others[rows, best] = -np.inf
    margin = log_sum_exp(others) - logits[rows, best]
    return np.stack([distances.min(1), margin], 1)


def fit_novelty_scale(logits: NDArray[np.float64], distances: NDArray[np.float64]) -> NoveltyScale:
    """Return the scale of the measures from images that the network was not trained on.

    The arguments are those of `novelty_measures`.
    """
    measures = novelty_measures(logits, distances)
    stds = np.maximum(measures.std(0), 1e-9)
    return NoveltyScale(tuple(np.median(measures, 0).tolist()), tuple(stds.tolist()))


def novelty_scores(
    logits: NDArray[np.float64], distances: NDArray[np.float64], scale: NoveltyScale
) -> NDArray[np.float64]:
    """Return the novelty (N,): the weighted sum of the measures above their medians."""
    measures = novelty_measures(logits, distances)
    excess = np.maximum((measures - scale.medians) / scale.stds, 0)
    scores: NDArray[np.float64] = excess @ np.array(list(MEASURE_WEIGHTS.values()))
    return scores
