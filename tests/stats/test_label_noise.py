"""The share of wrong labels: the maximum of its likelihood, and an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from resnetlab.stats.label_noise import estimate_label_noise


def planted(seed: int, share: float, images: int = 600, classes: int = 5, sharpness: float = 3.0):
    """Probabilities whose calibrated form has T = 0.5, and labels with a share of wrong ones."""
    random = np.random.default_rng(seed)
    logits = sharpness * random.standard_normal((images, classes))
    true = np.array([random.choice(classes, p=row) for row in np.exp(log_softmax(logits, 1))])
    labels = true.copy()
    wrong = random.permutation(images)[: round(share * images)]
    labels[wrong] = (true[wrong] + random.integers(1, classes, len(wrong))) % classes
    return np.exp(log_softmax(logits / 2, 1)), labels


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_the_estimate_maximizes_the_likelihood(share: float) -> None:
    probabilities, labels = planted(1, share)

    def loss(values: np.ndarray) -> float:
        noise, temperature = values[0], np.exp(values[1])
        correct = np.exp(log_softmax(np.log(probabilities) / temperature, 1))
        label = correct[np.arange(len(labels)), labels]
        return -np.log((1 - noise) * label + noise * (1 - label) / 4).sum()

    best = minimize(loss, [0.05, 0.0], bounds=[(0, 0.5), (-2.3, 1.4)], method="L-BFGS-B")
    found = estimate_label_noise(probabilities, labels)
    assert found.share == pytest.approx(best.x[0], abs=0.006)
    assert found.temperature == pytest.approx(np.exp(best.x[1]), rel=0.06)
    low, high = found.interval
    assert low <= found.share <= high
    for end in (low, high):
        if 0 < end < 0.5:  # the profile likelihood falls by half the 95 % quantile of chi-squared
            edge = min(loss(np.array([end, t])) for t in np.linspace(-2.3, 1.4, 400))
            assert edge - best.fun == pytest.approx(1.92, abs=0.2)


def test_the_interval_covers_the_planted_share_in_nearly_every_seed() -> None:
    covered = 0
    for seed in range(40):
        low, high = estimate_label_noise(*planted(seed, 0.05)).interval
        covered += low <= 0.05 <= high
    assert covered >= 36


def test_right_labels_of_a_sure_classifier_give_a_small_share() -> None:
    labels = np.arange(300) % 3
    probabilities = np.full((300, 3), 0.01)
    probabilities[np.arange(300), labels] = 0.98
    found = estimate_label_noise(probabilities, labels)
    assert found.share == 0
    assert found.interval.low == 0
    # No wrong label among 300: an exact interval ends at 1 - 0.025^(1/300).
    assert found.interval.high == pytest.approx(1 - 0.025 ** (1 / 300), abs=0.01)
