"""A classifier with a penalty toward given weights equals that of scikit-learn for zero weights,
and the given one for a large penalty.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from resnetlab.curation.extend import PENALTIES
from resnetlab.stats.softmax_head import LinearHead, fit_near


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(120) % 3
    features = generator.standard_normal((120, 6)) + 1.2 * np.eye(6)[labels]
    return features.astype(np.float32), labels


def test_from_zero_weights_the_fit_equals_the_logistic_regression_of_scikit_learn() -> None:
    features, labels = data()
    zero = LinearHead(np.zeros((3, 6)), np.zeros(3))
    scale = (features.astype(float) ** 2).sum(1).mean()
    # scikit-learn: C x sum of losses + ||W||^2 / 2; here: mean loss + penalty x scale / 2 ||W||^2.
    reference = LogisticRegression(C=1 / (120 * 0.01 * scale), tol=1e-8, max_iter=5000)
    reference.fit(features.astype(float), labels)
    _, head = fit_near(features, labels, zero, (1.0, 0.01))
    assert head.probabilities(features) == pytest.approx(
        reference.predict_proba(features.astype(float)), abs=1e-4
    )


@pytest.mark.parametrize("shape", [(120, 6), (40, 90)])
def test_the_fit_minimizes_the_formula_for_few_and_for_many_features(
    shape: tuple[int, int],
) -> None:
    """The gradient of the formula, written out with no change of variables, is zero there."""
    generator = np.random.default_rng(3)
    count, size = shape
    features = (generator.standard_normal(shape) * np.linspace(0.1, 3, size) + 2).astype(np.float32)
    labels = np.arange(count) % 3
    start = LinearHead(generator.standard_normal((3, size)) / 9, generator.standard_normal(3))
    rows = features.astype(float)
    for penalty, head in zip(PENALTIES, fit_near(features, labels, start, PENALTIES), strict=True):
        errors = (head.probabilities(features) - np.eye(3)[labels]) / count
        scale = penalty * (rows**2).sum(1).mean()
        gradient = errors.T @ rows + scale * (head.weight - start.weight)
        size_of_terms = np.abs(errors).T @ np.abs(rows)
        assert np.abs(gradient).max() < 2e-3 * max(size_of_terms.max(), 1e-2)
        assert np.abs(errors.sum(0)).max() < 1e-3


def test_a_large_penalty_preserves_the_weights_and_a_small_one_fits_the_data() -> None:
    features, labels = data()
    generator = np.random.default_rng(1)
    start = LinearHead(generator.standard_normal((3, 6)), np.zeros(3))
    fixed, free = fit_near(features, labels, start, (1e6, 1e-6))
    assert fixed.weight == pytest.approx(start.weight, abs=1e-4)
    correct = [(head.logits(features).argmax(1) == labels).mean() for head in (start, free)]
    assert correct[1] > correct[0] + 0.2


def test_new_outputs_start_at_zero() -> None:
    head = LinearHead(np.ones((2, 4)), np.ones(2)).with_outputs(3)
    assert head.weight.shape == (3, 4)
    assert (head.weight[2] == 0).all()
    assert head.bias.tolist() == [1, 1, 0]
