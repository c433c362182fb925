"""Exact tests equal published values, scipy and plain enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from resnetlab.stats.exact import (
    balanced_accuracy_interval,
    boschloo,
    decision_power,
    mcnemar,
    sign_flip_p,
    time_to_accuracy_rank_test,
)

times = st.lists(st.sampled_from([1.0, 2.0, 3.0, 5.0, math.inf]), min_size=1, max_size=5)


def test_boschloo_has_the_published_p_value() -> None:
    assert boschloo(74, 117, 31, 63) == pytest.approx(0.0355641, abs=1e-7)


@pytest.mark.parametrize(("n", "p"), [(3, 0.015625), (5, 0.00097656)])
def test_boschloo_has_its_exact_p_value_for_all_failed_against_none(n: int, p: float) -> None:
    assert boschloo(n, n, 0, n) == pytest.approx(p, abs=1e-8)


def test_boschloo_has_its_exact_p_value_for_four_of_five_failed_against_none() -> None:
    assert boschloo(4, 5, 0, 5) == pytest.approx(0.0107422, abs=1e-7)


@given(st.integers(2, 6), st.integers(2, 6), st.data())
def test_boschloo_is_never_weaker_than_fisher_and_is_1_without_an_effect(
    n: int, m: int, data: st.DataObject
) -> None:
    k, j = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    p = boschloo(k, n, j, m)
    if k * m <= j * n:
        assert p == 1
    else:
        assert (
            p <= stats.fisher_exact([[k, j], [n - k, m - j]], alternative="greater").pvalue + 1e-9
        )


SHARES = st.floats(0, 1).map(
    lambda share: round(share, 9)
)  # scipy has no binomial of a subnormal one


@given(st.integers(2, 9), SHARES, SHARES, st.sampled_from([0.05, 0.01]))
@settings(max_examples=15)
def test_the_power_of_a_failure_claim_equals_an_enumeration_of_all_outcomes(
    n: int, rate_a: float, rate_b: float, alpha: float
) -> None:
    power = 0.0
    for k, j in itertools.product(range(n + 1), repeat=2):
        if 2 * k < n:
            decided = stats.binomtest(k, n, 0.5, alternative="less").pvalue < alpha
        else:
            p = boschloo(k, n, j, n)
            assume(
                abs(2 * p - alpha) > 2e-3 * alpha
            )  # a grid of rates and scipy's search differ by less
            decided = 2 * j <= n and 2 * p < alpha
        power += decided * stats.binom.pmf(k, n, rate_a) * stats.binom.pmf(j, n, rate_b)
    assert decision_power(n, rate_a, rate_b, alpha) == pytest.approx(power, abs=1e-9)


def test_the_exact_mcnemar_test_uses_only_images_on_which_two_checkpoints_differ() -> None:
    assert mcnemar(3, 12) == pytest.approx(0.03515625)  # of the table [[10, 3], [12, 10]]
    assert mcnemar(12, 3) == mcnemar(3, 12)
    assert (mcnemar(4, 4), mcnemar(0, 0)) == (1, 1)


@given(st.integers(0, 40), st.integers(0, 40).filter(bool))
def test_the_exact_mcnemar_test_equals_the_binomial_test(b: int, c: int) -> None:
    assert mcnemar(b, c) == pytest.approx(stats.binomtest(b, b + c).pvalue)


@given(times, times)
def test_a_race_is_tested_over_all_assignments_of_the_runs(a: list[float], b: list[float]) -> None:
    every = [*a, *b]
    ranks = stats.rankdata(every)
    observed = ranks[: len(a)].sum()
    sums = [
        sum(ranks[i] for i in dealt) for dealt in itertools.combinations(range(len(every)), len(a))
    ]
    sooner, later, beats = time_to_accuracy_rank_test(a, b)
    assert sooner == pytest.approx(sum(s <= observed + 1e-9 for s in sums) / len(sums))
    assert later == pytest.approx(sum(s >= observed - 1e-9 for s in sums) / len(sums))
    u = observed - len(a) * (len(a) + 1) / 2
    assert beats == pytest.approx(1 - u / (len(a) * len(b)))


def test_a_race_without_ties_equals_mann_whitney() -> None:
    a, b = (1.0, 2.5, 4.0, 7.0), (3.0, 6.0, 8.0, 9.0, 11.0)
    oracle = stats.mannwhitneyu(a, b, alternative="less", method="exact")
    assert time_to_accuracy_rank_test(a, b)[0] == pytest.approx(oracle.pvalue)


def test_runs_that_never_reach_the_accuracy_rank_last_and_are_not_dropped() -> None:
    assert time_to_accuracy_rank_test((1, 2, 3, 4), (math.inf,) * 4)[0] == pytest.approx(1 / 70)
    assert time_to_accuracy_rank_test((math.inf, 1), (1, math.inf))[2] == 0.5
    slow = (5.0, 6.0, math.inf, math.inf, math.inf)
    fast = (3.0, 3.0, 4.0, 4.0, 7.0)
    assert time_to_accuracy_rank_test(fast, slow)[0] < time_to_accuracy_rank_test(fast, slow[:2])[0]


@pytest.mark.parametrize(("only_a", "only_b"), [(2, 9), (5, 5), (0, 3), (14, 30)])
def test_sign_flips_of_equal_differences_give_the_mcnemar_p_value(only_a: int, only_b: int) -> None:
    differences = [1.0] * only_a + [-1.0] * only_b + [0.0] * 20
    assert sign_flip_p(differences) == pytest.approx(mcnemar(only_a, only_b), abs=0.015)


def test_sign_flips_of_a_few_differences_are_enumerated() -> None:
    """Two of the eight sums of +-3, +-2, +-1 are as large as 6, and four as large as 4."""
    assert sign_flip_p([3.0, 2.0, 1.0]) == pytest.approx(2 / 8, abs=0.015)
    assert sign_flip_p([3.0, 2.0, -1.0]) == pytest.approx(4 / 8, abs=0.015)
    assert sign_flip_p([]) == 1.0


def test_the_balanced_accuracy_interval_of_one_class_is_a_beta_interval() -> None:
    low, high = balanced_accuracy_interval([17], [20])
    assert (low, high) == pytest.approx(stats.beta(18, 4).ppf([0.025, 0.975]), abs=0.005)


def test_a_rare_class_widens_the_interval_of_the_balanced_accuracy() -> None:
    few = balanced_accuracy_interval([90, 2], [100, 3])
    many = balanced_accuracy_interval([90, 67], [100, 100])
    assert few.high - few.low > 2 * (many.high - many.low)


def test_the_interval_of_the_balanced_accuracy_contains_the_measured_value() -> None:
    assert balanced_accuracy_interval([4, 2], [4, 2]).high == 1.0
    assert balanced_accuracy_interval([0, 0], [4, 2]).low == 0.0
