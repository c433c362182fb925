"""Temperature of a classifier: one number that makes its probabilities agree with its accuracy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TEMPERATURE_RANGE = (0.05, 20.0)
"""Lowest and highest temperature of the search."""

_SMALLEST = 1e-300
"""Value in place of a probability of 0, whose logarithm is not finite."""


def fit_temperature(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the temperature T with the lowest cross-entropy of softmax(log(p) / T).

    log(p) and the logits differ by a constant for each image, so this is temperature scaling of the
    logits (Guo et al. 2017, sec. 4.2). The cross-entropy is convex in 1 / T, so the minimum is the
    only one. If every image is classified correctly, the cross-entropy falls as long as T does, and
    says nothing about the errors on other images: the temperature is then 1.

    Args:
        probabilities: Probabilities (N, K) of images that the network was not trained on.
        labels: Classes (N,) of the images.
    """
    from scipy.optimize import minimize_scalar

    if (probabilities.argmax(1) == labels).all():
        return 1.0
    log_p = _log(probabilities)
    label_log_p = log_p[np.arange(len(labels)), labels]

    def mean_loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        return float((log_sum_exp(scale * log_p) - scale * label_log_p).mean())

    bounds = tuple(math.log(value) for value in TEMPERATURE_RANGE)
    minimum = minimize_scalar(mean_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(float(minimum.x))


def scale_probabilities(
    probabilities: NDArray[np.float64], temperature: float
) -> NDArray[np.float64]:
    """Return softmax(log(p) / T) of probabilities (N, K), which have the same order by class.

    The probabilities of several views are averaged first and scaled afterwards (Rahaman and Thiery
    2021: pool, then calibrate). A temperature of 1 changes no bit.
    """
    if temperature == 1:
        return probabilities
    scaled = _log(probabilities) / temperature
    values: NDArray[np.float64] = np.exp(scaled - log_sum_exp(scaled)[:, None])
    return values


def log_sum_exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the sum of exponentials of each row (N, K), without overflow."""
    highest = values.max(1)
    sums: NDArray[np.float64] = highest + np.log(np.exp(values - highest[:, None]).sum(1))
    return sums


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithms: NDArray[np.float64] = np.log(np.maximum(probabilities, _SMALLEST))
    return logarithms
