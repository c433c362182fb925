"""Welch's difference, Holm's correction and the verdicts are right for planted truths."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from helpers.arms import arm
from resnetlab.stats.contrasts import welch
from resnetlab.stats.hypothesis_types import GREATER, Arm, MeansHypothesis, Region
from resnetlab.stats.power import forecast_seeds
from resnetlab.stats.verdict import compute_verdicts, holm, region_test
from resnetlab.stats.verdict_types import Reason, ReasonKind, Verdict

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

arms = st.lists(st.floats(0, 100).map(lambda x: round(x, 1)), min_size=2, max_size=6)


def greater(left: Arm, right: Arm) -> MeansHypothesis:
    return MeansHypothesis((left, right))


def verdict(left: Arm, right: Arm) -> Verdict:
    return compute_verdicts([greater(left, right)])[0]


def test_welch_on_the_sleep_data_has_its_known_values() -> None:
    effect = welch(DRUG_1, DRUG_2)
    p_in, p_out = region_test(effect, GREATER)
    assert effect.estimate / effect.se == pytest.approx(-1.8608135, abs=1e-7)
    assert effect.df == pytest.approx(17.776474, abs=1e-6)
    assert 2 * min(p_in, p_out) == pytest.approx(0.0793941, abs=1e-7)
    assert effect.interval() == pytest.approx((-3.3654832, 0.2054832), abs=1e-7)


def test_the_equivalence_test_on_the_sleep_data_has_its_known_value() -> None:
    assert region_test(welch(DRUG_1, DRUG_2), Region(-3.5, 3.5))[0] == pytest.approx(
        0.0182654, abs=1e-7
    )


def test_welch_handles_one_constant_arm_and_two_constant_arms() -> None:
    effect = welch((10, 10, 10), (91, 91.2, 90.9))
    assert (effect.estimate / effect.se, effect.df) == (
        pytest.approx(-918.83, abs=0.01),
        pytest.approx(2),
    )
    both = welch((10, 10, 10), (10, 10, 10))
    assert (both.is_deterministic, both.estimate, both.interval()) == (True, 0, (0, 0))


@given(arms, arms)
def test_welch_equals_scipy(a: list[float], b: list[float]) -> None:
    assume(min(len(set(a)), len(set(b))) > 1)  # scipy warns of a constant arm
    ours, oracle = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert (ours.estimate / ours.se, ours.df) == pytest.approx((oracle.statistic, oracle.df))
    assert ours.interval() == pytest.approx(tuple(oracle.confidence_interval()))


def test_the_correction_of_holm_for_four_tests_has_its_known_values() -> None:
    assert holm((0.01, 0.04, 0.03, 0.005)) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@given(st.lists(st.floats(0, 1), max_size=8))
def test_the_correction_of_holm_never_lowers_a_p_value(p: list[float]) -> None:
    assert all(after >= before for before, after in zip(p, holm(p), strict=True))


@given(arms, arms)
def test_a_claim_is_reproduced_exactly_if_the_interval_lies_above_zero(
    a: list[float], b: list[float]
) -> None:
    result = verdict(arm(a), arm(b))
    low, high = welch(a, b).interval()
    assume(abs(low) > 1e-9)
    assume(abs(high) > 1e-9)
    assert result.label == (
        "reproduced" if low > 0 else "contradicted" if high < 0 else "inconclusive"
    )


@given(st.lists(st.tuples(arms, arms), min_size=1, max_size=4))
def test_the_correction_of_holm_never_creates_a_verdict(
    pairs: list[tuple[list[float], list[float]]],
) -> None:
    together = compute_verdicts([greater(arm(a), arm(b)) for a, b in pairs])
    for (a, b), result in zip(pairs, together, strict=True):
        assert result.label in ("inconclusive", verdict(arm(a), arm(b)).label)


@given(arms, arms, st.randoms())
def test_the_order_of_seeds_does_not_change_a_verdict(
    a: list[float], b: list[float], random: Random
) -> None:
    shuffled = list(a)
    random.shuffle(shuffled)
    assert verdict(arm(a), arm(b)) == verdict(arm(shuffled), arm(b))


def test_planted_truths_get_their_verdicts() -> None:
    high, low = arm((97.0, 96.5, 97.5, 96.8, 97.2)), arm((30.0, 25.0, 36.0, 28.0, 22.0))
    assert verdict(high, low).label == "reproduced"
    assert verdict(low, high).label == "contradicted"
    close = verdict(arm((97.0, 96.0, 97.5)), arm((96.5, 96.9, 95.8)))
    assert close.label == "inconclusive"
    assert close.forecast.estimate > 3


def test_constant_arms_differ_deterministically_without_a_p_value() -> None:
    result = verdict(arm((97.0, 97.0)), arm((10.5, 10.5)))
    assert (result.label, result.effect.is_deterministic, result.p, result.p_holm) == (
        "reproduced",
        True,
        None,
        None,
    )
    assert verdict(arm((99.0, 99.0)), arm((99.0, 99.0))).label == "inconclusive"


def test_out_of_memory_makes_a_claim_untestable() -> None:
    result = verdict(arm((97.0, 96.0), out_of_memory=[None]), arm((30.0, 31.0)))
    assert result.label == "untestable"
    assert result.reason == Reason(ReasonKind.OUT_OF_MEMORY)


def test_failed_runs_make_a_verdict_conditional_on_convergence() -> None:
    result = verdict(
        arm((97.0, 96.5, 97.5)), arm((30.0, 25.0, 36.0), at_chance=[10.0], diverged=[None])
    )
    assert str(result.qualified_phrase) == "reproduced (trained runs only)"


def test_too_few_converged_runs_give_success_rates_and_no_verdict() -> None:
    result = verdict(arm((97.0, 96.5, 97.5)), arm((30.0,), at_chance=[10.0, 11.0]))
    assert result.label == "inconclusive"
    assert "3 of 3 against 1 of 3" in str(result.reason)
    assert (result.effect, result.p, result.forecast) == (None, None, None)


def test_converged_runs_cannot_contradict_the_mean_over_all_runs() -> None:
    left = arm((60.0, 61.0), at_chance=[10.0] * 200)  # better when it learns, which is hardly ever
    right = arm([50.0 + i / 10 for i in range(20)])
    assert verdict(left, right).label == "inconclusive"


def test_a_missing_run_makes_a_claim_inconclusive_if_it_could_change_the_verdict() -> None:
    high, low = (97.0, 96.5, 97.5, 96.8), (30.0, 25.0, 36.0)
    assert verdict(arm(high, missing=[None]), arm(low)).label == "reproduced"
    left, right = arm((60.0, 60.4, 60.2), missing=[None]), arm((59.9, 59.5, 59.7))
    present = welch(left.trained, right.trained).interval()
    assert present.low > 0
    assert verdict(left, right).trained_runs_only
    borderline = verdict(arm((60.0, 61.0), missing=[None]), arm((57.6, 58.6)))
    assert (
        borderline.label == "inconclusive"
    )  # significant only if the missing run is like the others


def test_an_unfinished_study_has_no_verdicts() -> None:
    waiting = arm((97.0, 96.0), waiting=[None])
    result = compute_verdicts([greater(waiting, arm((10.0, 11.0)))], finished=False)[0]
    assert (result.label, result.effect, result.p) == ("waiting", None, None)


def test_the_forecast_grows_with_noise_and_stops_at_fifty_seeds() -> None:
    left, right = (97.0, 96.0, 97.5), (96.5, 96.9, 95.8)
    low, about, high = forecast_seeds(welch(left, right), (3, 3), GREATER)
    assert low <= about
    assert high is None
    even = (50.0, 51.0, 52.0)
    assert forecast_seeds(welch(even, even), (3, 3), GREATER).estimate is None


def test_the_forecast_is_the_number_of_seeds_for_80_percent_power() -> None:
    s = 1.0
    left = tuple(90 + x for x in stats.norm.ppf((0.1, 0.3, 0.5, 0.7, 0.9)))
    scale = s / np.std(left, ddof=1)
    left = tuple(90 + (x - 90) * scale for x in left)
    right = tuple(x - 0.8 for x in left)  # effect .8 sd
    about = forecast_seeds(welch(left, right), (5, 5), GREATER).estimate
    nu, shift = 2 * (about - 1), 0.8 / math.sqrt(2 / about)
    assert stats.nct.sf(stats.t.ppf(0.975, nu), nu, shift) == pytest.approx(0.8, abs=0.02)


def _false_verdicts(draws: int) -> float:
    """Share of verdicts on claims about equal arms of unequal noise, in percent."""
    generator = np.random.default_rng(1)
    left, right = generator.normal(90, 0.5, (draws, 5)), generator.normal(90, 1.0, (draws, 5))
    wrong = 0
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        p_in, p_out = region_test(welch(a, b), GREATER)
        wrong += 2 * min(p_in, p_out) < 0.05
    return 100 * wrong / draws


def test_welch_has_its_stated_error_rate() -> None:
    assert _false_verdicts(2_000) <= 6.5


@pytest.mark.slow
def test_welch_has_its_stated_error_rate_in_many_draws(capsys: pytest.CaptureFixture[str]) -> None:
    share = _false_verdicts(20_000)
    with capsys.disabled():
        print(f"\n  Welch, type-I error at 5 runs, sd 2 to 1: {share:.2f} %", end="")
    assert share <= 5.6
