"""Share of wrong labels, from probabilities of a classifier that has not seen the labels it judges.

Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.stats.intervals import Interval

MAX_SHARE = 0.5
"""Largest share of wrong labels that is considered."""

SHARES = np.linspace(0, MAX_SHARE, 251)
"""Shares at which the likelihood is computed, every 0.2 percentage points."""

TEMPERATURES = np.geomspace(0.1, 4.0, 49)
"""Temperatures at which the likelihood is computed."""

SMALLEST = 1e-12
"""Smallest probability of a class."""


@dataclass(frozen=True)
class LabelNoise:
    """Estimate of the share of wrong labels, from 0 to 1, with its 95 % interval."""

    share: float
    interval: Interval
    temperature: float
    """Temperature by which the logits are divided: below 1, the classifier was too unsure."""


def estimate_label_noise(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], confidence: float = 0.95
) -> LabelNoise:
    """Estimate the share of wrong labels.

    Model: the class of an image has the probability q(k) = softmax(log p / T)(k) with a common
    temperature T (Guo et al. 2017, "On calibration of modern neural networks", sec. 4.2). Its label
    is that class with probability 1 - e, and each of the K - 1 others with probability e / (K - 1)
    (symmetric label noise; Patrini et al. 2017, "Making deep neural networks robust to label
    noise", sec. 4). So a label y has the probability (1 - e) q(y) + e (1 - q(y)) / (K - 1). T and e
    maximize the likelihood; the interval is that of the profile likelihood (Wilks 1938).

    An error of the classifier that it is sure of cannot be told from a wrong label, so with a weak
    classifier the estimate is too high. Labels that are confused for a similar class look like
    unsure predictions, so for them it is too low.

    Args:
        probabilities: Out-of-fold probabilities (N, K): those of a classifier that was fitted
            without the image.
        labels: Given labels (N,).
        confidence: Confidence of the interval.

    Returns:
        The estimate.
    """
    from scipy.special import chdtri

    profile, best = np.full(len(SHARES), -np.inf), np.zeros(len(SHARES))
    logits = np.log(np.maximum(probabilities, SMALLEST))
    others = probabilities.shape[1] - 1
    for temperature in TEMPERATURES:
        correct = _label_probabilities(logits, labels, float(temperature))
        wrong = (1 - correct) / others
        mixture = correct + SHARES[:, None] * (wrong - correct)
        likelihood = np.log(np.maximum(mixture, SMALLEST)).sum(1)
        better = likelihood > profile
        profile[better], best[better] = likelihood[better], temperature
    index = int(profile.argmax())
    drop = float(chdtri(1, 1 - confidence)) / 2
    return LabelNoise(
        share=float(SHARES[index]),
        interval=_cut_profile(profile, index, profile[index] - drop),
        temperature=float(best[index]),
    )


def _label_probabilities(
    logits: NDArray[np.float64], labels: NDArray[np.int64], temperature: float
) -> NDArray[np.float64]:
    """Return softmax(logits / T) of each label (N,)."""
    scaled = logits / temperature
    scaled -= scaled.max(1, keepdims=True)
    exponentials = np.exp(scaled)
    result: NDArray[np.float64] = exponentials[np.arange(len(labels)), labels]
    return result / exponentials.sum(1)


def _cut_profile(profile: NDArray[np.float64], index: int, level: float) -> Interval:
    """Return the range of shares whose profile likelihood is at least `level`.

    Between two shares the profile is interpolated linearly.
    """

    def crossing(outside: int, inside: int) -> float:
        part = (level - profile[outside]) / (profile[inside] - profile[outside])
        return float(SHARES[outside] + part * (SHARES[inside] - SHARES[outside]))

    low = high = index
    while low > 0 and profile[low] >= level:
        low -= 1
    while high < len(SHARES) - 1 and profile[high] >= level:
        high += 1
    lower = float(SHARES[0]) if profile[low] >= level else crossing(low, low + 1)
    upper = float(SHARES[-1]) if profile[high] >= level else crossing(high, high - 1)
    return Interval(lower, upper)
