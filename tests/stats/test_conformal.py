"""Prediction sets equal exact arithmetic, and have the stated coverage on exchangeable images."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.stats.conformal import (
    conformal_quantile,
    highest_coverage,
    needed_images,
    prediction_sets,
    set_thresholds,
    threshold_groups,
)

PERCENTS = st.integers(1, 99)


def exact_rank(images: int, percent: int) -> int:
    """Return the rank k = ceil((n + 1) c) in exact arithmetic (Angelopoulos and Bates 2021, sec.
    1).
    """
    return math.ceil((images + 1) * Fraction(percent, 100))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), PERCENTS)
def test_the_conformal_quantile_is_the_score_of_the_exact_rank(
    scores: list[float], percent: int
) -> None:
    rank = exact_rank(len(scores), percent)
    expected = sorted(scores)[rank - 1] if rank <= len(scores) else math.inf
    assert conformal_quantile(np.array(scores), percent / 100) == expected


@given(PERCENTS)
def test_the_required_number_of_images_is_the_smallest_with_a_valid_rank(percent: int) -> None:
    needed = next(n for n in range(1, 200) if exact_rank(n, percent) <= n)
    assert needed_images(percent / 100) == needed
    assert highest_coverage(needed) >= percent / 100 - 1e-12


@pytest.mark.parametrize(("images", "percent"), [(9, 90), (25, 90), (60, 80), (120, 95)])
def test_the_coverage_of_another_score_equals_the_theory(images: int, percent: int) -> None:
    """The rank of a further continuous score is uniform, so it is covered with k / (n + 1)."""
    generator, trials = np.random.default_rng(images), 20_000
    scores = generator.gamma(2.0, size=(trials, images + 1))
    covered = sum(
        row[-1] <= conformal_quantile(row[:-1], percent / 100) for row in scores[: trials // 10]
    ) / (trials // 10)
    expected = exact_rank(images, percent) / (images + 1)
    assert expected >= percent / 100
    assert abs(covered - expected) < 4 * math.sqrt(0.25 / (trials // 10))


@given(
    st.lists(st.integers(0, 200), min_size=2, max_size=8).filter(any),
    st.sampled_from([0.8, 0.9, 0.95]),
)
def test_each_group_has_enough_images_or_all_classes_share_one_threshold(
    counts: list[int], coverage: float
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    groups = threshold_groups(labels, len(counts), coverage)
    enough = next(n for n in range(1, 500) if 1 / (n + 1) <= (1 - coverage) / 4 + 1e-12)
    by_group = {
        group: sum(counts[k] for k in np.flatnonzero(groups == group)) for group in set(groups)
    }
    assert all(count >= enough for count in by_group.values()) or set(groups) == {0}
    alone = [k for k in range(len(counts)) if groups[k] > 0]
    assert len({groups[k] for k in alone}) == len(alone)
    if all(count >= enough for count in counts):
        assert len(alone) == len(counts)


def test_a_harder_class_with_enough_images_has_its_stated_coverage() -> None:
    """Class 0 gets lower probabilities for its images than the others: with one threshold it would
    be covered less often.
    """
    generator = np.random.default_rng(0)
    by_class = np.zeros((3, 2))
    trials = 400
    for _ in range(trials):
        labels = np.repeat([0, 1, 2], [60, 60, 60])
        right = generator.beta(np.where(labels == 0, 2, 6), 2)
        thresholds = set_thresholds(right, labels, 3, 0.9)
        test_right = generator.beta(np.where(labels == 0, 2, 6), 2)
        together = -conformal_quantile(-right, 0.9)
        for k in range(3):
            by_class[k, 0] += (test_right[labels == k] >= thresholds[k]).mean() / trials
            by_class[k, 1] += (test_right[labels == k] >= together).mean() / trials
    assert by_class[0, 1] < 0.85
    expected = exact_rank(60, 90) / 61
    assert np.allclose(by_class[:, 0], expected, atol=0.012)


def test_sets_have_the_classes_above_their_thresholds_and_may_be_empty_or_complete() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.34, 0.33, 0.33]])
    sets = prediction_sets(probabilities, np.array([0.5, 0.3, 0.3]))
    assert sets.tolist() == [[True, True, False], [False, True, True]]
    assert prediction_sets(probabilities, np.full(3, 0.7)).sum() == 0
    few = set_thresholds(np.array([0.2, 0.9]), np.array([0, 1]), 3, 0.9)
    assert prediction_sets(probabilities, few).all()
