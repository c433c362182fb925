"""The distances of the novelty equal those of scikit-learn, and its measures equal formulas."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from resnetlab.stats import novelty
from resnetlab.stats.novelty import (
    NEAREST_IMAGES,
    class_distances,
    fit_novelty_scale,
    normalize_rows,
    novelty_measures,
    novelty_scores,
)


@pytest.mark.parametrize("in_memory", [novelty.MAX_DISTANCES, 100, 1])
def test_distances_equal_scikit_learn(monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(novelty, "MAX_DISTANCES", in_memory)
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat([0, 1, 2], [30, 12, 3]))
    reference = generator.normal(size=(45, 16))
    images = generator.normal(size=(20, 16))
    ours = class_distances(images, normalize_rows(reference), labels, 3)
    for label, count in ((0, NEAREST_IMAGES), (1, NEAREST_IMAGES), (2, 3)):
        search = NearestNeighbors(n_neighbors=count).fit(normalize(reference[labels == label]))
        theirs = search.kneighbors(normalize(images))[0].mean(1)
        assert np.allclose(ours[:, label], theirs, atol=1e-3)


def test_the_measures_are_the_distance_to_the_nearest_class_and_the_log_odds() -> None:
    generator = np.random.default_rng(1)
    logits, distances = generator.normal(0, 3, (30, 4)), generator.uniform(size=(30, 4))
    best = softmax(logits, 1).max(1)
    expected = np.stack([distances.min(1), -np.log(best / (1 - best))], 1)
    assert np.allclose(novelty_measures(logits, distances), expected)
    certain = novelty_measures(np.array([[800.0, -800.0]]), np.zeros((1, 2)))
    assert np.isfinite(certain).all()


def test_the_novelty_is_the_excess_over_the_medians_with_half_the_weight_of_the_margin() -> None:
    generator = np.random.default_rng(2)
    logits, distances = generator.normal(size=(41, 3)), generator.uniform(size=(41, 3))
    scale = fit_novelty_scale(logits, distances)
    other_logits, other_distances = generator.normal(size=(9, 3)), generator.uniform(size=(9, 3))
    scores = novelty_scores(other_logits, other_distances, scale)
    for row, score in enumerate(scores):
        expected = 0.0
        for weight, values, value in (
            (1.0, distances.min(1), other_distances[row].min()),
            (0.5, log_odds(logits), log_odds(other_logits[row : row + 1])[0]),
        ):
            excess = (value - sorted(values)[20]) / np.std(values)
            expected += weight * max(excess, 0.0)
        assert score == pytest.approx(expected)


def log_odds(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minus the log-odds of the most probable class (N,)."""
    best = softmax(logits, 1).max(1)
    odds: NDArray[np.float64] = -np.log(best / (1 - best))
    return odds


def test_a_confident_network_does_not_compensate_for_the_distance() -> None:
    generator = np.random.default_rng(3)
    scale = fit_novelty_scale(generator.normal(size=(50, 3)), generator.uniform(size=(50, 3)))
    far = np.full((1, 3), 9.0)
    doubtful, confident = np.zeros((1, 3)), np.array([[90.0, 0.0, 0.0]])
    near = novelty_scores(doubtful, np.zeros((1, 3)), scale)[0]
    assert novelty_scores(confident, far, scale)[0] > near
    assert novelty_scores(confident, np.zeros((1, 3)), scale)[0] == 0
