"""The estimated share of wrong labels equals its formulas, and its interval covers the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import beta

from resnetlab.stats.label_noise import estimate_label_noise, fit_noisy_temperature


def planted(
    seed: int, share: float, similar: bool = False, sharpness: float = 4.0, images: int = 600
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose calibrated form has T = 0.5, and labels with a share of wrong ones: any
    other class, or the most probable other one.
    """
    generator, classes = np.random.default_rng(seed), 5
    logits = sharpness * generator.standard_normal((images, classes))
    true = np.array([generator.choice(classes, p=row) for row in np.exp(log_softmax(logits, 1))])
    labels = true.copy()
    wrong = generator.permutation(images)[: round(share * images)]
    labels[wrong] = (true[wrong] + generator.integers(1, classes, len(wrong))) % classes
    if similar:
        others = logits.copy()
        others[np.arange(images), true] = -np.inf
        labels[wrong] = others[wrong].argmax(1)
    return np.exp(log_softmax(logits / 2, 1)), labels


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_the_temperature_maximizes_the_likelihood_with_label_noise(share: float) -> None:
    probabilities, labels = planted(1, share)

    def loss(values: np.ndarray) -> float:
        noise, temperature = values[0], np.exp(values[1])
        correct = np.exp(log_softmax(np.log(probabilities) / temperature, 1))
        label = correct[np.arange(len(labels)), labels]
        return float(-np.log((1 - noise) * label + noise * (1 - label) / 4).sum())

    bounds = [(0, 0.5), (-2.3, 1.4)]
    best = minimize(loss, [0.05, -0.5], bounds=bounds, method="L-BFGS-B")
    assert fit_noisy_temperature(probabilities, labels) == pytest.approx(
        np.exp(best.x[1]), rel=0.06
    )


def test_the_estimate_uses_the_more_confident_half() -> None:
    probabilities, labels = planted(2, 0.1)
    estimate = estimate_label_noise(probabilities, labels)
    threshold = np.sort(probabilities.max(1))[300]
    most_confident = probabilities.max(1) >= threshold
    wrong = int((probabilities[most_confident].argmax(1) != labels[most_confident]).sum())
    assert (estimate.num_most_confident, estimate.disagreements) == (300, wrong)
    assert estimate.share == pytest.approx((wrong - estimate.expected_errors) / 300)
    assert estimate.interval.high == pytest.approx(beta.ppf(0.975, wrong + 1, 300 - wrong))
    least = int(wrong - estimate.expected_errors)
    assert estimate.interval.low == pytest.approx(beta.ppf(0.025, least, 300 - least + 1))


@pytest.mark.parametrize("similar", [False, True])
@pytest.mark.parametrize("sharpness", [2.0, 8.0])
def test_the_interval_covers_the_planted_share_for_nearly_every_seed(
    similar: bool, sharpness: float
) -> None:
    covered = 0
    for seed in range(20):
        low, high = estimate_label_noise(*planted(seed, 0.05, similar, sharpness)).interval
        covered += low <= 0.05 <= high
    assert covered >= 18


def test_correct_labels_of_a_confident_classifier_give_a_small_share() -> None:
    labels = np.arange(300) % 3
    probabilities = np.full((300, 3), 0.01)
    probabilities[np.arange(300), labels] = 0.98
    estimate = estimate_label_noise(probabilities, labels)
    assert (estimate.share, estimate.interval.low) == (0, 0)
    assert estimate.interval.high == pytest.approx(1 - 0.025 ** (1 / 150))
