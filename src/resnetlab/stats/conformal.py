"""Conformal prediction sets: sets of classes that contain the right one as often as stated.

The score of a class is its probability, as in the sets of Sadinle et al. (2019), "Least ambiguous
set-valued classifiers with bounded error levels", which are the smallest on average among sets of
the same coverage. A threshold is a quantile of the probabilities that images with known classes get
for their class (split conformal prediction; Angelopoulos and Bates 2021, sec. 1). A class with
enough images has a threshold of its own, so that it is covered as often as the others
(Mondrian conformal prediction; Vovk 2012).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MAX_EXCESS = 0.25
"""Largest excess of the coverage of a class with its own threshold, as a share of the miss rate.

With n images, the expected coverage lies between c and c + 1 / (n + 1). At a coverage of 90 %, the
miss rate is 10 %, and a class needs 39 images for at most 2.5 points more.
"""

_ROUNDING = 1e-9
"""Tolerance for products such as 0.07 * 100, which is above 7 in floating point."""


def needed_images(coverage: float) -> int:
    """Return the smallest number of images n with a quantile for a coverage between 0 and 1.

    It is the smallest n with ceil((n + 1) c) <= n.
    """
    return math.ceil(coverage / (1 - coverage) - _ROUNDING)


def highest_coverage(images: int) -> float:
    """Return the highest coverage, 0 to 1, that a number of images can give: n / (n + 1)."""
    return images / (images + 1)


def conformal_quantile(scores: NDArray[np.float64], coverage: float) -> float:
    """Return the k-th smallest of n scores, k = ceil((n + 1) c); infinity if k is above n.

    A further score, exchangeable with these, is at most the quantile with a probability of at least
    c, and of at most c + 1 / (n + 1) if no two scores are equal (Angelopoulos and Bates 2021,
    theorem 1 and appendix D).

    Args:
        scores: Scores (n,).
        coverage: Coverage c, between 0 and 1.
    """
    k = max(1, math.ceil((len(scores) + 1) * coverage - _ROUNDING))
    if k > len(scores):
        return math.inf
    return float(np.partition(scores, k - 1)[k - 1])


def threshold_groups(
    labels: NDArray[np.int64], num_classes: int, coverage: float
) -> NDArray[np.int64]:
    """Return the group (K,) of each class; the classes of a group have one threshold.

    Classes with enough images have a group each. The others share group 0; if even together they
    have too few images, the smallest of the other classes join them.

    Args:
        labels: Classes (n,) of the images.
        num_classes: Number of classes K.
        coverage: Coverage between 0 and 1.
    """
    counts = np.bincount(labels, minlength=num_classes)
    needed = math.ceil(1 / (MAX_EXCESS * (1 - coverage)) - _ROUNDING) - 1
    separate = counts >= needed
    for index in np.argsort(counts, kind="stable"):
        if separate.all() or counts[~separate].sum() >= needed:
            break
        separate[index] = False
    groups: NDArray[np.int64] = np.where(separate, 1 + np.arange(num_classes), 0)
    return groups


def set_thresholds(
    label_probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    num_classes: int,
    coverage: float,
) -> NDArray[np.float64]:
    """Return the lowest probability (K,) with which each class belongs to a set.

    Args:
        label_probabilities: Probabilities (n,) of the right class of images that are exchangeable
            with those to predict.
        labels: Classes (n,) of these images.
        num_classes: Number of classes K.
        coverage: Coverage between 0 and 1.
    """
    groups = threshold_groups(labels, num_classes, coverage)
    image_groups = groups[labels]
    by_group = {
        group: -conformal_quantile(-label_probabilities[image_groups == group], coverage)
        for group in np.unique(groups).tolist()
    }
    return np.array([by_group[group] for group in groups.tolist()], np.float64)


def prediction_sets(
    probabilities: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return True for each class (N, K) of the set of each image.

    A set may be empty: no class is then probable enough. It may contain every class.

    Args:
        probabilities: Probabilities (N, K).
        thresholds: Lowest probability of each class (K,).
    """
    sets: NDArray[np.bool_] = probabilities >= thresholds
    return sets
