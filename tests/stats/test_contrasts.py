"""Contrasts, pairs and ratios equal published values, scipy and their written formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from resnetlab.stats.contrasts import (
    accuracy_difference,
    contrast,
    contrast_range,
    paired_difference,
    relative_difference,
    welch,
)
from resnetlab.stats.hypothesis_types import Region
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval
from resnetlab.stats.verdict import region_test

DRUG_1 = (
    0.7,
    -1.6,
    -0.2,
    -1.2,
    -0.1,
    3.4,
    3.7,
    0.8,
    0.0,
    2.0,
)  # Student 1908: hours of sleep gained
DRUG_2 = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)
DIFFERENCES = tuple(a - b for a, b in zip(DRUG_1, DRUG_2, strict=True))

values = st.lists(st.floats(1, 100).map(lambda x: round(x, 1)), min_size=2, max_size=6).filter(
    lambda v: len(set(v)) > 1
)


def test_paired_differences_of_the_sleep_data_have_known_values() -> None:
    effect = paired_difference(DIFFERENCES)
    assert effect.estimate / effect.se == pytest.approx(-4.0621277, abs=1e-7)
    assert 2 * effect.p_below(0) == pytest.approx(0.0028329, abs=1e-7)
    assert effect.interval() == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert region_test(effect, Region(-3, 3))[0] == pytest.approx(0.0026556, abs=1e-7)


@given(
    st.lists(
        st.tuples(values, st.floats(-3, 3).filter(lambda c: abs(c) > 0.01)), min_size=1, max_size=4
    )
)
def test_a_contrast_has_the_degrees_of_freedom_of_satterthwaite(
    terms: list[tuple[list[float], float]],
) -> None:
    effect = contrast([arm for arm, _ in terms], [c for _, c in terms])
    parts = [(c**2 * np.var(arm, ddof=1) / len(arm), len(arm)) for arm, c in terms]
    total = sum(part for part, _ in parts)
    assert effect.estimate == pytest.approx(sum(c * np.mean(arm) for arm, c in terms), abs=1e-9)
    assert effect.se == pytest.approx(math.sqrt(total))
    assert effect.df == pytest.approx(total**2 / sum(part**2 / (n - 1) for part, n in parts))


@given(values, values, values)
def test_a_contrast_of_two_arms_equals_welch_and_arms_with_weight_zero_change_nothing(
    a: list[float], b: list[float], c: list[float]
) -> None:
    assert contrast((a, b, c), (1, -1, 0)) == welch(a, b)


@given(values, values)
def test_a_ratio_has_the_variance_of_the_delta_method(a: list[float], b: list[float]) -> None:
    effect = relative_difference((a, b))
    r = np.mean(a) / np.mean(b)
    inside = (
        np.var(a, ddof=1) / len(a) / np.mean(a) ** 2 + np.var(b, ddof=1) / len(b) / np.mean(b) ** 2
    )
    assert effect.estimate == pytest.approx(100 * (r - 1), abs=1e-9)
    assert effect.se == pytest.approx(100 * math.sqrt(r**2 * inside))


@given(st.lists(st.tuples(values, values), min_size=2, max_size=3))
def test_the_mean_of_ratios_averages_the_effects_and_their_variances(
    pairs: list[tuple[list[float], list[float]]],
) -> None:
    ratios = [(2 * index, 2 * index + 1) for index in range(len(pairs))]
    effect = relative_difference([arm for pair in pairs for arm in pair], ratios)
    each = [relative_difference(pair) for pair in pairs]
    assert effect.estimate == pytest.approx(np.mean([one.estimate for one in each]), abs=1e-9)
    assert effect.se == pytest.approx(math.sqrt(sum(one.se**2 for one in each)) / len(each))


@given(st.lists(values, min_size=3, max_size=3))
def test_an_arm_of_two_ratios_has_one_derivative(arms: list[list[float]]) -> None:
    ratios = [(0, 2), (1, 2)]
    effect = relative_difference(arms, ratios)
    means = np.array([np.mean(arm) for arm in arms])

    def mean_ratio(at: np.ndarray) -> float:
        return float(np.mean([100 * (at[k] - at[j]) / abs(at[j]) for k, j in ratios]))

    step = 1e-6
    slopes = [
        (mean_ratio(means + step * unit) - mean_ratio(means - step * unit)) / (2 * step)
        for unit in np.eye(3)
    ]
    parts = [g**2 * np.var(arm, ddof=1) / len(arm) for g, arm in zip(slopes, arms, strict=True)]
    assert effect.estimate == pytest.approx(mean_ratio(means), abs=1e-9)
    assert effect.se == pytest.approx(math.sqrt(sum(parts)), rel=1e-5)


def test_28_percent_less_error_is_plus_28_percent() -> None:
    left, right = (-7.2, -7.2, -7.2), (-10.0, -10.0, -10.0)  # minus the error: more is better
    assert relative_difference((left, right)).estimate == pytest.approx(28)
    assert relative_difference((left, right)).is_deterministic
    with pytest.raises(ValueError, match="percentage of 0"):
        relative_difference((left, (0.0, 0.0)))


def test_a_single_value_per_arm_is_refused() -> None:
    with pytest.raises(ValueError, match="2 runs per arm"):
        contrast(((1.0, 2.0), (1.0,)), (1, -1))


@given(values)
def test_paired_differences_equal_scipy(a: list[float]) -> None:
    oracle = stats.ttest_rel(a, [0.0] * len(a))
    effect = paired_difference(a)
    assume(effect.se > 0)
    assert (effect.estimate / effect.se, effect.df) == (
        pytest.approx(oracle.statistic),
        pytest.approx(oracle.df),
    )


@given(st.lists(st.floats(0, 100), min_size=2, max_size=4), st.data())
def test_the_interval_of_an_accuracy_difference_is_within_100_points(
    a: list[float], data: st.DataObject
) -> None:
    b = data.draw(st.lists(st.floats(0, 100), min_size=2, max_size=4))
    low, high = accuracy_difference(a, b).interval()
    assert -100 <= low <= high <= 100
    free = welch(a, b).interval()
    assert (low, high) == (max(-100, min(100, free.low)), min(100, max(-100, free.high)))


def test_the_interval_of_an_interaction_is_within_200_points() -> None:
    percent = ACCURACY_RANGE_PCT
    assert contrast_range([percent] * 4, (1, -1, -1, 1)) == (-200, 200)
    loss = Interval(float("-inf"), 0.0)
    assert contrast_range([loss] * 2, (1, -1)) == (float("-inf"), float("inf"))
