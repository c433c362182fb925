"""Intervals and summaries equal published values and scipy.stats."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnetlab.stats.intervals import (
    clopper_pearson,
    corrected_resampled_interval,
    hurdle_interval,
    mean,
    summarize,
    t_interval,
    variance,
    wilson,
)

accuracies = st.floats(0, 100)


def test_the_t_interval_of_five_runs_has_its_known_value() -> None:
    assert t_interval((91.3, 91.0, 91.6, 91.2, 91.4)) == pytest.approx((91.0224, 91.5776), abs=1e-4)


def test_a_t_interval_needs_two_runs_and_is_a_point_for_constant_values() -> None:
    assert t_interval((91.0,)) is None
    assert t_interval((91.1, 91.1, 91.1)) == (91.1, 91.1)


def test_the_intervals_of_7_of_50_and_5_of_5_have_known_values() -> None:
    assert clopper_pearson(7, 50) == pytest.approx((0.0581917, 0.2673960), abs=1e-7)
    assert wilson(7, 50) == pytest.approx((0.0695083, 0.2618619), abs=1e-7)
    assert wilson(5, 5).low == pytest.approx(0.5655175, abs=1e-7)
    assert clopper_pearson(5, 5).low == pytest.approx(0.4781762, abs=1e-7)


def test_an_interval_of_0_of_5_has_an_upper_bound() -> None:
    assert wilson(0, 5).high == pytest.approx(0.4345, abs=1e-4)
    assert clopper_pearson(0, 5).high == pytest.approx(0.5218, abs=1e-4)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_intervals_of_a_rate_equal_scipy(pair: tuple[int, int]) -> None:
    k, n = pair
    for ours, method in ((clopper_pearson, "exact"), (wilson, "wilson")):
        oracle = stats.binomtest(k, n).proportion_ci(method=method)
        assert ours(k, n) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


@given(st.lists(accuracies, min_size=2, max_size=12).filter(lambda x: np.std(x) > 1e-6))
def test_the_t_interval_equals_scipy(values: list[float]) -> None:
    oracle = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert t_interval(values) == pytest.approx(oracle)


def test_the_hurdle_interval_is_the_bonferroni_product_and_the_full_range_below_two_runs() -> None:
    values = (30.0, 40.0, 50.0)
    low, high = stats.t.interval(0.975, 2, 40, stats.sem(values))
    a, b = stats.binomtest(3, 5).proportion_ci(0.975)
    expected = (
        max(0, 10 + min(a * (low - 10), b * (low - 10))),
        10 + max(a * (high - 10), b * (high - 10)),
    )
    assert hurdle_interval(values, 5, 10.0) == pytest.approx((expected[0], min(100, expected[1])))
    assert hurdle_interval((40.0,), 5, 10.0) == (0, 100)


@given(st.lists(accuracies, min_size=2, max_size=8), st.randoms())
def test_the_order_of_seeds_does_not_change_a_summary(values: list[float], random: Random) -> None:
    runs = [("trained", value) for value in values] + [("at chance", 10.0), ("diverged", None)]
    shuffled = list(runs)
    random.shuffle(shuffled)
    assert summarize(runs, 10.0) == summarize(shuffled, 10.0)
    assert (mean(values), variance(values)) == (mean(values[::-1]), variance(values[::-1]))


@given(st.lists(accuracies, min_size=1, max_size=8))
def test_a_diverged_run_changes_the_success_rate_and_never_lowers_n(values: list[float]) -> None:
    runs = [("trained", value) for value in values]
    before, after = summarize(runs, 10.0), summarize([*runs, ("diverged", None)], 10.0)
    assert after.success_wilson.high < before.success_wilson.high == 1
    assert after.counts.planned == before.counts.planned + 1
    assert after.trained_pct == before.trained_pct
    assert after.all_mean_pct == pytest.approx(np.mean([*values, 10.0]))


def test_runs_without_an_accuracy_are_counted_in_the_denominators() -> None:
    summary = summarize(
        [("trained", 90.0), ("trained", 91.0), ("missing", None), ("diverged", None)], 10.0
    )
    assert summary.success_wilson == (wilson(2, 4).low, wilson(3, 4).high)
    assert summary.all_mean_pct == pytest.approx((90 + 91 + 10) / 3)
    assert summary.all_rule == "hurdle"
    assert summarize([("out of memory", None)] * 3, 10.0).success_wilson.low == 0


def test_the_interval_over_all_runs_is_a_t_interval_only_if_all_have_the_same_status() -> None:
    alike = summarize([("at chance", x) for x in (10.0, 11.0, 12.0)], 10.0)
    assert (alike.all_rule, alike.all_interval_pct) == ("t", t_interval((10.0, 11.0, 12.0)))
    assert alike.interval_pct is None
    mixed = summarize([("at chance", 10.0), ("at chance", 11.0), ("trained", 60.0)], 10.0)
    assert (mixed.all_rule, mixed.all_interval_pct) == ("whole range", (0.0, 100.0))


def test_a_condition_that_was_not_started_has_no_numbers() -> None:
    summary = summarize([("waiting", None), ("running", None)], 10.0)
    assert (summary.mean_pct, summary.all_mean_pct, summary.all_rule) == (None,) * 2 + ("none",)


def _coverage(draws: int) -> float:
    """Share of t-intervals of 5 normal values that hold the truth, in percent."""
    samples = np.random.default_rng(0).normal(90.0, 0.5, (draws, 5))
    intervals = [t_interval(sample.tolist()) for sample in samples]
    return 100 * math.fsum(low <= 90.0 <= high for low, high in intervals) / draws


def test_the_t_interval_has_its_stated_coverage() -> None:
    assert _coverage(2_000) == pytest.approx(95, abs=1.5)


@pytest.mark.slow
def test_the_t_interval_has_its_stated_coverage_in_many_draws(
    capsys: pytest.CaptureFixture[str],
) -> None:
    share = _coverage(20_000)
    with capsys.disabled():
        print(f"\n  t interval of 5 runs: {share:.2f} %", end="")
    assert share == pytest.approx(95, abs=0.6)


def test_the_interval_over_folds_equals_the_formula_of_nadeau_and_bengio() -> None:
    values, test, train = [81.0, 84.0, 79.0, 90.0, 83.0], 20, 80
    deviation = float(np.std(values, ddof=1))
    half = stats.t.ppf(0.975, 4) * deviation * math.sqrt(1 / 5 + test / train)
    interval = corrected_resampled_interval(values, test, train)
    assert interval == pytest.approx((83.4 - half, 83.4 + half))
    plain = t_interval(values)
    assert interval is not None
    assert plain is not None
    assert interval.low < plain.low < plain.high < interval.high
    assert corrected_resampled_interval(values[:1], test, train) is None
