"""Novelty: distances against scikit-learn, measures by their formulas, weights by their optimum."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from resnetlab.stats.novelty import (
    NEAREST_IMAGES,
    class_distances,
    fit_novelty_weights,
    normalize_rows,
    novelty_measures,
    novelty_scores,
)


def test_distances_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [30, 12, 3])
    reference = draw.normal(size=(45, 16))
    images = draw.normal(size=(20, 16))
    ours = class_distances(images, normalize_rows(reference), labels, 3)
    for label, count in ((0, NEAREST_IMAGES), (1, NEAREST_IMAGES), (2, 3)):
        search = NearestNeighbors(n_neighbors=count).fit(normalize(reference[labels == label]))
        theirs = search.kneighbors(normalize(images))[0].mean(1)
        assert np.allclose(ours[:, label], theirs, atol=1e-3)


def test_measures_are_the_log_odds_the_largest_logit_and_the_nearest_class() -> None:
    draw = np.random.default_rng(1)
    logits, distances = draw.normal(0, 3, (30, 4)), draw.uniform(size=(30, 4))
    best = softmax(logits, 1).max(1)
    expected = np.stack([-np.log(best / (1 - best)), -logits.max(1), distances.min(1)], 1)
    assert np.allclose(novelty_measures(logits, distances), expected)
    certain = novelty_measures(np.array([[800.0, -800.0]]), np.zeros((1, 2)))
    assert np.isfinite(certain).all()


def planted(useful: str, seed: int = 0) -> tuple[NDArray[np.float64], ...]:
    """Logits, distances and labels of images of which one measure alone tells a novel class."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), 40)
    logits, distances = draw.normal(0, 1, (160, 4)), draw.normal(5, 1, (160, 4))
    rows = np.arange(160)
    if useful == "distance":
        distances[rows, labels] -= 4
    else:
        logits[rows, labels] += 6
    return logits, distances, labels


@pytest.mark.parametrize("useful", ["distance", "logits"])
def test_the_measure_that_tells_known_classes_apart_weighs_most(useful: str) -> None:
    logits, distances, labels = planted(useful)
    weights = fit_novelty_weights(logits, distances, labels)
    assert min(weights.weights) >= 0
    margin, logit, distance = weights.weights
    assert (distance > margin + logit) == (useful == "distance")
    new_logits, new_distances, _ = planted(useful, seed=1)
    known = novelty_scores(new_logits, new_distances, weights)
    draw = np.random.default_rng(2)
    strangers = novelty_scores(draw.normal(0, 1, (160, 4)), draw.normal(5, 1, (160, 4)), weights)
    area = roc_auc_score(np.repeat([0, 1], 160), np.concatenate([known, strangers]))
    assert area > 0.9


def test_the_weights_have_the_lowest_loss_of_the_regression_written_out() -> None:
    logits, distances, labels = planted("distance", seed=3)
    fitted = fit_novelty_weights(logits, distances, labels)
    samples, novel = [], []
    for left_out in range(4):
        rest = [k for k in range(4) if k != left_out]
        for row in range(160):
            z, d = logits[row, rest], distances[row, rest]
            best = softmax(z).max()
            measures = np.array([-np.log(best / (1 - best)), -z.max(), d.min()])
            samples.append((measures - fitted.means) / fitted.stds)
            novel.append(labels[row] == left_out)
    inputs, truth = np.array(samples), np.array(novel)

    def loss(weights: NDArray[np.float64], bias: float) -> float:
        chance = 1 / (1 + np.exp(-(inputs @ weights + bias)))
        likelihood = 0.5 * np.log(chance[truth]).mean() + 0.5 * np.log(1 - chance[~truth]).mean()
        return float(-160 * likelihood + 0.5 * ((weights - 1) ** 2).sum())

    def best_loss(weights: NDArray[np.float64]) -> float:
        return min(loss(weights, bias) for bias in np.linspace(-6, 6, 241))

    weights = np.array(fitted.weights)
    lowest = best_loss(weights)
    draw = np.random.default_rng(4)
    for _ in range(20):
        changed = np.maximum(weights + draw.normal(0, 0.3, 3), 0)
        assert best_loss(changed) > lowest - 0.05


def test_with_two_classes_all_measures_weigh_alike() -> None:
    draw = np.random.default_rng(5)
    weights = fit_novelty_weights(
        draw.normal(size=(30, 2)), draw.uniform(size=(30, 2)), np.arange(30) % 2
    )
    assert weights.weights == (1.0, 1.0, 1.0)
