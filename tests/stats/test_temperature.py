"""The fitted temperature equals a search over a grid and the result of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from resnetlab.stats.temperature import (
    TEMPERATURE_RANGE,
    fit_temperature,
    log_sum_exp,
    scale_probabilities,
)


def planted(
    temperature: float, images: int = 400, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits (N, K) that are `temperature` times those from which the labels (N,) are drawn."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (images, 5))
    labels = np.array([generator.choice(5, p=row) for row in softmax(logits, 1)])
    return temperature * logits, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_has_the_lowest_cross_entropy_of_a_grid(temperature: float) -> None:
    logits, labels = planted(temperature)
    fitted = fit_temperature(softmax(logits, 1), labels)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 1501))
    losses = [-log_softmax(logits / t, 1)[np.arange(len(labels)), labels].mean() for t in grid]
    assert fitted == pytest.approx(grid[int(np.argmin(losses))], rel=5e-3)
    assert fitted == pytest.approx(temperature, rel=0.2)


class Logits(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifier whose inputs are its logits."""

    classes_ = np.arange(5)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, *_: object) -> Logits:
        return self

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.int64]:
        return inputs.argmax(1)

    def decision_function(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        return inputs


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_after_the_temperature_equal_scikit_learn(seed: int) -> None:
    logits, labels = planted(2.5, seed=seed)
    theirs = CalibratedClassifierCV(FrozenEstimator(Logits()), method="temperature", ensemble=False)
    expected = theirs.fit(logits, labels).predict_proba(logits)
    raw = softmax(logits, 1)
    ours = scale_probabilities(raw, fit_temperature(raw, labels))
    assert np.allclose(ours, expected, atol=1e-3)


def test_a_network_without_errors_gets_temperature_one_and_a_bad_one_a_value_in_the_range() -> None:
    logits, _ = planted(1.0)
    raw = softmax(logits, 1)
    assert fit_temperature(raw, raw.argmax(1)) == 1.0
    assert fit_temperature(raw, raw.argmin(1)) == pytest.approx(TEMPERATURE_RANGE[1], rel=1e-3)


def test_scaled_probabilities_are_the_softmax_of_scaled_logits() -> None:
    logits, _ = planted(1.0, images=50)
    raw = softmax(logits, 1)
    assert np.allclose(scale_probabilities(raw, 1.7), softmax(logits / 1.7, 1))
    assert scale_probabilities(raw, 1.0) is raw
    certain = scale_probabilities(np.array([[1.0, 0.0, 0.0]]), 2.0)
    assert np.isfinite(certain).all()
    assert np.allclose(log_sum_exp(700 * logits), logsumexp(700 * logits, 1))
