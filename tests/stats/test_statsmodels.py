"""Our statistics equal statsmodels to at least seven digits wherever it has the method."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.oneway import anova_oneway
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_ind, ttost_paired

from helpers.arms import arm
from resnetlab.stats.contrasts import contrast, paired_difference, welch
from resnetlab.stats.exact import mcnemar
from resnetlab.stats.hypothesis_types import GREATER, FailureHypothesis, MeansHypothesis, Region
from resnetlab.stats.intervals import clopper_pearson, t_interval, wilson
from resnetlab.stats.power import minimum_detectable_effect, power, required_runs
from resnetlab.stats.verdict import compute_verdicts, holm, region_test

SAME = {"rel": 1e-7, "abs": 1e-9}

values = st.lists(st.floats(1, 100).map(lambda x: round(x, 2)), min_size=2, max_size=10).filter(
    lambda x: np.std(x) > 0.01
)
rates = st.integers(1, 80).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
p_values = st.lists(st.floats(1e-9, 1), min_size=1, max_size=12)
confidences = st.floats(0.5, 0.999)


@given(rates, confidences)
def test_the_intervals_of_a_rate_equal_statsmodels(
    rate: tuple[int, int], confidence: float
) -> None:
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "beta")):
        low, high = proportion_confint(*rate, alpha=1 - confidence, method=method)
        interval = ours(rate[0], rate[1], confidence)
        assert interval == pytest.approx((max(0.0, low), min(1.0, high)), **SAME)


@given(values, confidences)
def test_the_interval_of_a_mean_equals_statsmodels(a: list[float], confidence: float) -> None:
    assert t_interval(a, confidence) == pytest.approx(
        DescrStatsW(a).tconfint_mean(alpha=1 - confidence), **SAME
    )


@given(values, values, confidences)
def test_the_welch_test_and_its_interval_equal_statsmodels(
    a: list[float], b: list[float], confidence: float
) -> None:
    both = CompareMeans(DescrStatsW(a), DescrStatsW(b))
    t, p, nu = both.ttest_ind(usevar="unequal")
    effect = welch(a, b)
    assert (effect.estimate / effect.se, effect.df) == pytest.approx((t, nu), **SAME)
    assert 2 * min(region_test(effect, GREATER)) == pytest.approx(p, **SAME)
    assert effect.interval(confidence) == pytest.approx(
        both.tconfint_diff(1 - confidence, usevar="unequal"), **SAME
    )


@given(values, values)
def test_the_p_value_of_a_verdict_equals_the_anova_of_welch(a: list[float], b: list[float]) -> None:
    verdict = compute_verdicts([MeansHypothesis((arm(a), arm(b)))])[0]
    assert verdict.p == pytest.approx(anova_oneway((a, b), use_var="unequal").pvalue, **SAME)


@given(values, values, st.floats(-50, 50), st.floats(0.1, 60))
def test_equivalence_tests_equal_statsmodels(
    a: list[float], b: list[float], middle: float, margin: float
) -> None:
    p = ttost_ind(a, b, middle - margin, middle + margin, usevar="unequal")[0]
    assert region_test(welch(a, b), Region(middle - margin, middle + margin))[0] == pytest.approx(
        p, **SAME
    )


@given(
    st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=2, max_size=10),
    st.floats(0.1, 60),
)
def test_paired_equivalence_tests_equal_statsmodels(
    pairs: list[tuple[float, float]], margin: float
) -> None:
    differences = [a - b for a, b in pairs]
    assume(np.std(differences) > 1e-3)
    a, b = np.array(pairs).T
    p = ttost_paired(a, b, -margin, margin)[0]
    assert region_test(paired_difference(differences), Region(-margin, margin))[0] == pytest.approx(
        p, **SAME
    )


@given(st.lists(st.tuples(values, st.floats(-3, 3)), min_size=2, max_size=4))
def test_a_contrast_has_the_standard_error_of_a_regression_with_unequal_variances(
    terms: list[tuple[list[float], float]],
) -> None:
    arms, weights = [item for item, _ in terms], [weight for _, weight in terms]
    assume(max(map(abs, weights)) > 0.01)
    design = np.concatenate(
        [np.tile(np.eye(len(arms))[k], (len(item), 1)) for k, item in enumerate(arms)]
    )
    fit = OLS(np.concatenate(arms), design).fit(
        cov_type="HC2"
    )  # of a mean: its own variance over its own number
    test = fit.t_test(np.array(weights))
    effect = contrast(arms, weights)
    assert (effect.estimate, effect.se) == pytest.approx(
        (test.effect[0], test.sd[0, 0]), rel=1e-7, abs=1e-7
    )


@settings(max_examples=20)  # theirs takes a tenth of a second
@given(p_values)
def test_the_correction_of_holm_equals_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], **SAME)


@given(st.floats(0.05, 4), st.integers(2, 40))
def test_the_power_and_the_detectable_effect_equal_statsmodels(effect: float, n: int) -> None:
    theirs = TTestIndPower()
    expected = theirs.power(effect, n, 0.05)
    if np.isfinite(expected):  # theirs is NaN where scipy's noncentral t has no lower tail left
        assert power(effect, n) == pytest.approx(expected, **SAME)
    assert theirs.power(minimum_detectable_effect(n), n, 0.05) == pytest.approx(0.8, abs=1e-7)


def test_half_a_standard_deviation_needs_the_number_of_runs_of_statsmodels() -> None:
    assert required_runs(0.5) == pytest.approx(
        TTestIndPower().solve_power(0.5, power=0.8, alpha=0.05), rel=1e-6
    )


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_exact_mcnemar_test_equals_statsmodels(b: int, c: int) -> None:
    assume(b + c)
    assert mcnemar(b, c) == pytest.approx(
        their_mcnemar([[5, b], [c, 7]], exact=True).pvalue, **SAME
    )


@given(rates.filter(lambda rate: 2 * rate[0] < rate[1]))
def test_a_minority_is_certain_exactly_if_the_upper_bound_is_below_one_half(
    rate: tuple[int, int],
) -> None:
    """Contradicted by the one-sided 95 % bound of Clopper and Pearson."""
    upper = proportion_confint(*rate, alpha=0.1, method="beta")[1]
    assume(abs(upper - 0.5) > 1e-9)
    failed, runs = rate
    arms = arm((90.0,) * (runs - failed), at_chance=(10.0,) * failed), arm((90.0,) * runs)
    (verdict,) = compute_verdicts([FailureHypothesis(arms)])
    assert (verdict.label == "contradicted") == (upper < 0.5)
