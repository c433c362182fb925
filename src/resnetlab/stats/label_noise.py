"""Share of wrong labels, from probabilities of a classifier that has not seen the labels it judges.

Free of torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.stats.intervals import Interval, clopper_pearson

MOST_CONFIDENT_SHARE = 0.5
"""Share of the images that count: those with the highest probability of any class."""

TEMPERATURES = np.geomspace(0.1, 4.0, 49)
"""Temperatures at which the likelihood is computed."""

NOISE = np.linspace(0, 0.5, 51)
"""Shares of wrong labels at which the likelihood of a temperature is computed."""

SMALLEST = 1e-12
"""Smallest probability of a class."""


@dataclass(frozen=True)
class LabelNoise:
    """Estimate of the share of wrong labels, from 0 to 1, with its 95 % interval."""

    share: float
    interval: Interval
    num_most_confident: int
    """Number of images that count."""
    disagreements: int
    """Number of them whose most probable class is not their label."""
    expected_errors: float
    """Number of them that the classifier expects to be its own errors."""


def estimate_label_noise(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> LabelNoise:
    """Estimate the share of wrong labels from the images of which the classifier is most confident.

    There a prediction that differs from the label is most often a wrong label: near such anchor
    points the share of wrong labels can be read off (Liu and Tao 2016, "Classification with noisy
    labels by importance reweighting", sec. 4). Of n images, d have another prediction than label,
    and the classifier expects e errors of its own, the sum of 1 - max q over its calibrated
    probabilities q. The estimate is (d - e) / n. The interval goes from the lower end of the exact
    interval (Clopper and Pearson 1934) of d - e to the upper end of that of d: it is wider where
    the classifier is weak, and holds if its most confident errors are wrong labels and if they are
    not.

    It supposes that wrong labels are as frequent among these images as among the others.

    Args:
        probabilities: Out-of-fold probabilities (N, K): those of a classifier that was fitted
            without the image.
        labels: Given labels (N,).

    Returns:
        The estimate.
    """
    count = max(1, round(MOST_CONFIDENT_SHARE * len(labels)))
    most_confident = np.argsort(-probabilities.max(1), kind="stable")[:count]
    differs = probabilities[most_confident].argmax(1) != labels[most_confident]
    calibrated = apply_temperature(probabilities, fit_noisy_temperature(probabilities, labels))
    errors = float((1 - calibrated[most_confident].max(1)).sum())
    disagreements = int(differs.sum())
    remaining = max(0.0, disagreements - errors)
    low = clopper_pearson(math.floor(remaining), count).low
    high = clopper_pearson(disagreements, count).high
    return LabelNoise(remaining / count, Interval(low, high), count, disagreements, errors)


def fit_noisy_temperature(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the temperature that calibrates probabilities, although some labels are wrong.

    A label y has the probability (1 - e) q(y) + e (1 - q(y)) / (K - 1), in which q is the softmax
    of log p / T: temperature scaling (Guo et al. 2017, "On calibration of modern neural networks",
    sec. 4.2) under symmetric label noise (Patrini et al. 2017, "Making deep neural networks robust
    to label noise", sec. 4). T and e maximize the likelihood.

    Args:
        probabilities: Out-of-fold probabilities (N, K).
        labels: Given labels (N,).
    """
    best, largest = 1.0, -np.inf
    rows, others = np.arange(len(labels)), probabilities.shape[1] - 1
    for temperature in TEMPERATURES:
        correct = apply_temperature(probabilities, float(temperature))[rows, labels]
        wrong = (1 - correct) / others
        mixture = correct + NOISE[:, None] * (wrong - correct)
        likelihood = float(np.log(np.maximum(mixture, SMALLEST)).sum(1).max())
        if likelihood > largest:
            best, largest = float(temperature), likelihood
    return best


def apply_temperature(
    probabilities: NDArray[np.float64], temperature: float
) -> NDArray[np.float64]:
    """Return softmax(log p / T) of probabilities (N, K)."""
    scaled = np.log(np.maximum(probabilities, SMALLEST)) / temperature
    exponentials = np.exp(scaled - scaled.max(1, keepdims=True))
    result: NDArray[np.float64] = exponentials / exponentials.sum(1, keepdims=True)
    return result
