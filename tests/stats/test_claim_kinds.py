"""Claims of each kind get the verdict of their planted truth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from helpers.arms import arm
from resnetlab.stats import exact
from resnetlab.stats.contrasts import contrast, relative_difference, welch
from resnetlab.stats.hypothesis_types import (
    GREATER,
    LESS,
    Arm,
    FailureHypothesis,
    Hypothesis,
    MeansHypothesis,
    Region,
    SpeedHypothesis,
)
from resnetlab.stats.power import rank_test_seeds
from resnetlab.stats.verdict import compute_verdicts

HIGH = (97.0, 96.5, 97.5, 96.8, 97.2)
MIDDLE = (92.1, 91.8, 92.3, 91.9, 92.4)
LOW = (88.0, 87.6, 88.3, 87.9, 88.2)
NOISY = (60.0, 99.0, 75.0, 85.0, 91.0)
INF = math.inf


def verdict_label(question: Hypothesis, *others: Hypothesis) -> str:
    return compute_verdicts([question, *others])[0].label


def about(left: Arm, right: Arm, size: float, margin: float) -> MeansHypothesis:
    region = Region(size - margin, size + margin)
    return MeansHypothesis((left, right), region=region, direction=GREATER if size > 0 else LESS)


def equal(left: Arm, right: Arm, margin: float) -> MeansHypothesis:
    return MeansHypothesis((left, right), region=Region(-margin, margin))


def chain(*arms: Arm) -> MeansHypothesis:
    """Each better than the next."""
    rows = [[0.0] * len(arms) for _ in arms[1:]]
    for index, row in enumerate(rows):
        row[index], row[index + 1] = 1.0, -1.0
    return MeansHypothesis(arms, tuple(map(tuple, rows)))


def best(first: Arm, *rivals: Arm) -> MeansHypothesis:
    rows = [[1.0, *[0.0] * len(rivals)] for _ in rivals]
    for index, row in enumerate(rows):
        row[index + 1] = -1.0
    return MeansHypothesis((first, *rivals), tuple(map(tuple, rows)))


# Claims about a size
# --------------------------------------------------------------------------------------------------


def test_a_size_is_reproduced_with_a_separate_verdict_on_its_direction() -> None:
    verdict = compute_verdicts([about(arm(HIGH), arm(MIDDLE), 4.9, 2.0)])[0]
    assert (verdict.label, verdict.direction.label) == ("reproduced", "reproduced")
    assert verdict.p_holm == verdict.p  # the weaker of two lines
    assert verdict.direction.p_holm == pytest.approx(2 * verdict.direction.p)


def test_a_contradicted_size_with_a_reproduced_direction_is_partly_reproduced() -> None:
    verdict = compute_verdicts([about(arm(HIGH), arm(LOW), 1.0, 0.5)])[0]
    assert (verdict.label, verdict.direction.label) == ("partly reproduced", "reproduced")


def test_a_size_in_the_opposite_direction_is_contradicted() -> None:
    verdict = compute_verdicts([about(arm(LOW), arm(HIGH), 9.0, 2.0)])[0]
    assert (verdict.label, verdict.direction.label) == ("contradicted", "contradicted")
    assert verdict_label(about(arm(LOW), arm(HIGH), -9.0, 2.0)) == "reproduced"


def test_the_test_of_a_direction_counts_in_the_correction_of_holm() -> None:
    claim, other = (
        about(arm(HIGH), arm(MIDDLE), 4.9, 2.0),
        MeansHypothesis((arm(NOISY), arm(NOISY))),
    )
    assert compute_verdicts([other, claim])[1].direction.label == "reproduced"
    p = compute_verdicts([MeansHypothesis((arm(HIGH), arm(MIDDLE)))])[0].p
    assert compute_verdicts([claim, other])[0].direction.p_holm == pytest.approx(3 * p)


# Claims of equality
# --------------------------------------------------------------------------------------------------


def test_equality_needs_evidence_and_not_just_a_missing_difference() -> None:
    shifted = tuple(x + 0.05 for x in HIGH)
    assert verdict_label(equal(arm(HIGH), arm(shifted), 1.0)) == "reproduced"
    assert verdict_label(equal(arm(HIGH), arm(shifted), 0.1)) == "inconclusive"
    assert verdict_label(equal(arm(HIGH), arm(LOW), 1.0)) == "contradicted"
    assert verdict_label(equal(arm((10.0,) * 3), arm((10.0,) * 3), 0.5)) == "reproduced"


# Claims that one condition fails and the other trains
# ------------------------------------------------------------------------------------------


def fails(
    dead: int, trained: int, other_dead: int = 0, n: int = 5, **more: Sequence[float]
) -> FailureHypothesis:
    return FailureHypothesis(
        (
            arm(MIDDLE[:trained], at_chance=[10.0] * dead, **more),
            arm(MIDDLE[: n - other_dead], at_chance=[10.0] * other_dead),
        )
    )


def test_a_network_that_fails_while_the_other_trains_reproduces_the_failure_claim() -> None:
    verdict = compute_verdicts([fails(5, 0)])[0]
    assert (verdict.label, verdict.p) == ("reproduced", pytest.approx(2 * 0.00097656, abs=1e-7))
    assert verdict_label(fails(4, 1)) == "reproduced"
    assert verdict_label(fails(3, 2)) == "inconclusive"
    assert verdict_label(fails(3, 0, n=3)) == "reproduced"


def test_a_missing_run_of_a_failure_claim_counts_as_failed_first_and_as_trained_last() -> None:
    claim = FailureHypothesis((arm((), at_chance=[10.0] * 5), arm(MIDDLE[:4], missing=[None])))
    as_failed = compute_verdicts([fails(5, 0, other_dead=1)])[0].p
    as_trained = compute_verdicts([fails(5, 0)])[0].p
    assert as_failed > as_trained
    assert compute_verdicts([claim])[0].p_of_cases == pytest.approx((as_failed, as_trained))


def test_a_network_that_trains_contradicts_the_claim_that_it_fails() -> None:
    verdict = compute_verdicts([fails(0, 5)])[0]
    assert (verdict.label, verdict.p) == ("contradicted", pytest.approx(1 / 32))
    assert verdict_label(fails(1, 4)) == "inconclusive"


def test_two_networks_that_fail_do_not_reproduce_the_claim() -> None:
    verdict = compute_verdicts([fails(5, 0, other_dead=4)])[0]
    assert (verdict.label, str(verdict.reason)) == (
        "inconclusive",
        "both conditions fail in most of their runs",
    )


def test_a_diverged_run_counts_as_failed_and_a_missing_run_is_tested_in_both_ways() -> None:
    assert verdict_label(fails(3, 0, diverged=[None] * 2)) == "reproduced"
    assert verdict_label(fails(4, 0, missing=[None])) == "reproduced"  # 4 of 5 or 5 of 5
    assert verdict_label(fails(3, 1, missing=[None])) == "inconclusive"
    assert verdict_label(fails(0, 4, missing=[None])) == "inconclusive"
    assert verdict_label(fails(4, 0, out_of_memory=[None])) == "untestable"


def test_an_undecided_failure_claim_forecasts_the_number_of_seeds() -> None:
    low, about, high = compute_verdicts([fails(3, 2)])[0].forecast  # 3 of 5 against 0 of 5
    assert low == about == high
    enough = [n for n in range(6, 51) if exact.decision_power(n, 0.6, 0.0, 0.05) >= 0.8]
    assert about == enough[0] > 5
    assert (
        compute_verdicts([fails(3, 2, other_dead=2)])[0].forecast.estimate is None
    )  # 60 % against 40 %: more than MAX_SEEDS
    assert compute_verdicts([fails(5, 0)])[0].forecast is None
    assert (
        compute_verdicts([fails(5, 0, other_dead=4)])[0].forecast is None
    )  # no test, whatever the number


# Averages and ratios
# --------------------------------------------------------------------------------------------------


def test_an_average_over_conditions_is_a_contrast() -> None:
    arms = (arm(HIGH), arm(MIDDLE), arm(MIDDLE), arm(LOW))
    verdict = compute_verdicts([MeansHypothesis(arms, ((0.5, 0.5, -0.5, -0.5),))])[0]
    assert verdict.label == "reproduced"
    assert verdict.effect == contrast(
        (sorted(HIGH), sorted(MIDDLE), sorted(MIDDLE), sorted(LOW)), (0.5, 0.5, -0.5, -0.5)
    )


def test_a_relative_claim_is_in_percent_of_the_right_side() -> None:
    left, right = (-7.2, -7.1, -7.3, -7.2, -7.2), (-10.0, -10.1, -9.9, -10.0, -10.0)
    arms = (arm(left, bounds=(-100, 0), chance=-90.0), arm(right, bounds=(-100, 0), chance=-90.0))
    claim = MeansHypothesis(arms, region=Region(18, 38), relative=True, direction=GREATER)
    verdict = compute_verdicts([claim])[0]
    assert (verdict.label, verdict.effect) == (
        "reproduced",
        relative_difference((sorted(left), sorted(right))),
    )
    far = MeansHypothesis(arms, region=Region(40, 60), relative=True, direction=GREATER)
    assert verdict_label(far) == "partly reproduced"


def test_a_claim_in_percent_of_a_mean_of_zero_is_not_decided() -> None:
    arms = (arm((0.1, 0.1, 0.2), bounds=(0, 100)), arm((0.0, 0.0, 0.0), bounds=(0, 100)))
    verdict = compute_verdicts([MeansHypothesis(arms, region=Region(18, 38), relative=True)])[0]
    assert verdict.label == "inconclusive"
    assert str(verdict.reason) == "a mean of the right side is 0, of which nothing is a percentage"


def test_a_ratio_is_not_computed_from_converged_runs_if_most_runs_failed() -> None:
    left = arm((60.0, 61.0), at_chance=[10.0] * 200)
    right = arm([50.0 + i / 10 for i in range(20)])
    assert verdict_label(MeansHypothesis((left, right), relative=True)) == "inconclusive"


# Several claims at once
# --------------------------------------------------------------------------------------------------


def test_a_chain_is_reproduced_if_every_link_is() -> None:
    assert verdict_label(chain(arm(HIGH), arm(MIDDLE), arm(LOW))) == "reproduced"
    assert verdict_label(chain(arm(HIGH), arm(LOW), arm(MIDDLE))) == "contradicted"
    assert verdict_label(chain(arm(HIGH), arm(MIDDLE), arm(MIDDLE))) == "inconclusive"


def test_the_p_value_and_effect_of_a_chain_are_the_values_of_its_weakest_link() -> None:
    close = tuple(x - 0.6 for x in HIGH)
    verdict = compute_verdicts([chain(arm(HIGH), arm(close), arm(LOW))])[0]
    assert verdict.p == pytest.approx(stats.ttest_ind(HIGH, close, equal_var=False).pvalue)
    assert verdict.effect == welch(sorted(HIGH), sorted(close))


def test_the_best_is_contradicted_if_a_rival_wins_after_the_correction_of_holm() -> None:
    assert verdict_label(best(arm(HIGH), arm(MIDDLE), arm(LOW))) == "reproduced"
    verdict = compute_verdicts([best(arm(MIDDLE), arm(LOW), arm(HIGH))])[0]
    assert verdict.label == "contradicted"
    oracle = stats.ttest_ind(MIDDLE, HIGH, equal_var=False, alternative="less").pvalue
    assert verdict.p == pytest.approx(2 * 2 * oracle)
    assert verdict_label(best(arm(HIGH), arm(LOW), arm(out_of_memory=[None]))) == "untestable"


@given(
    st.lists(
        st.lists(st.floats(0, 100).map(lambda x: round(x, 1)), min_size=2, max_size=4),
        min_size=2,
        max_size=4,
    )
)
def test_a_chain_is_never_more_certain_than_each_of_its_links(values: list[list[float]]) -> None:
    arms = [arm(each) for each in values]
    if verdict_label(chain(*arms)) == "reproduced":
        assert all(
            verdict_label(MeansHypothesis(pair)) == "reproduced"
            for pair in itertools.pairwise(arms)
        )


# Paired comparisons
# --------------------------------------------------------------------------------------------------


def test_paired_arms_are_compared_pair_by_pair() -> None:
    other = tuple(x + d for x, d in zip(NOISY, (0.5, 0.6, 0.4, 0.5, 0.55), strict=True))
    arms = (arm(other), arm(NOISY))
    pairs = tuple(a - b for a, b in zip(other, NOISY, strict=True))
    assert verdict_label(MeansHypothesis(arms)) == "inconclusive"
    verdict = compute_verdicts([MeansHypothesis(arms, pairs=pairs)])[0]
    assert (verdict.label, verdict.p) == (
        "reproduced",
        pytest.approx(stats.ttest_rel(other, NOISY).pvalue),
    )
    assert str(compute_verdicts([MeansHypothesis(arms, pairs=(0.5,))])[0].reason).endswith(
        "the pairs have fewer than 2"
    )


# Claims about speed
# --------------------------------------------------------------------------------------------------


def faster(
    left: Sequence[float], right: Sequence[float], n: int = 5, **more: Sequence[float]
) -> SpeedHypothesis:
    return SpeedHypothesis(
        (arm(MIDDLE[: len(left)], **more), arm(MIDDLE[:n])), (tuple(left), tuple(right))
    )


def test_a_claim_of_fewer_epochs_to_an_accuracy_gets_its_verdict() -> None:
    assert verdict_label(faster((2, 3, 3, 4, 4), (6, 7, 7, 8, INF))) == "reproduced"
    assert verdict_label(faster((6, 7, INF, 8, INF), (2, 3, 3, 4, 4))) == "contradicted"
    assert verdict_label(faster((2, 6, 3, 9, 4), (6, 3, 7, 4, 5))) == "inconclusive"
    assert (
        str(compute_verdicts([faster((INF,) * 5, (INF,) * 5)])[0].reason)
        == "no run of either condition reached the accuracy"
    )


@pytest.mark.parametrize("count", [3, 5])
def test_a_race_against_an_arm_without_finished_runs_is_not_decided(count: int) -> None:
    right = (3.0,) * count
    race = SpeedHypothesis((arm(missing=[0.0] * count), arm(MIDDLE[:count])), ((), right))
    verdict = compute_verdicts([race])[0]
    assert verdict.label == "inconclusive"
    assert str(verdict.reason) == "missing runs could change the verdict"


def test_an_undecided_race_forecasts_the_number_of_seeds() -> None:
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    left, right = (2, 3, 6, 4, 4), (3, 4, 7, 5, 5)
    beats = np.mean([(x < y) + 0.5 * (x == y) for x in left for y in right])
    assert compute_verdicts([faster(left, right)])[0].forecast.estimate == math.ceil(
        z**2 / (6 * (beats - 0.5) ** 2)
    )
    assert (
        compute_verdicts([faster((2, 6, 3, 9, 4), (6, 3, 7, 4, 4))])[0].forecast.estimate is None
    )  # nearly level


@pytest.mark.slow
def test_the_forecast_number_of_seeds_decides_80_percent_of_races() -> None:
    generator = np.random.default_rng(8)
    shift = 2**0.5 * stats.norm.ppf(
        0.8
    )  # a run of one arm beats one of the other with probability .8
    n = rank_test_seeds(float(stats.norm.cdf(shift / 2**0.5)), 0.05, 2).estimate
    a, b = generator.normal(0, 1, (600, n)).tolist(), generator.normal(shift, 1, (600, n)).tolist()
    assert np.mean(
        [2 * exact.time_to_accuracy_rank_test(x, y)[0] < 0.05 for x, y in zip(a, b, strict=True)]
    ) == pytest.approx(0.8, abs=0.1)


def test_a_missing_run_of_a_race_may_be_slow() -> None:
    assert verdict_label(faster((2, 3, 3, 4), (6, 7, 7, 8, 9))) == "reproduced"
    assert verdict_label(faster((2, 3, 3, 4), (6, 7, 7, 8, 9), missing=[None])) == "inconclusive"
    assert (
        verdict_label(faster((2, 3, 3, 4, 4, 2, 2, 3), (6, 7, 7, 8, 9), missing=[None]))
        == "reproduced"
    )


# Properties of every kind of claim
# --------------------------------------------------------------------------------------------------


def test_more_than_two_conditions_report_how_many_have_too_few_runs() -> None:
    verdict = compute_verdicts([chain(arm(HIGH), arm((92.0,), at_chance=[10.0] * 4), arm(LOW))])[0]
    assert (verdict.label, str(verdict.reason)) == (
        "inconclusive",
        "too few trained runs for a test of means: 1 of the 3 conditions have fewer than 2",
    )


def test_missing_runs_in_very_many_conditions_are_not_enumerated() -> None:
    lost = [arm(HIGH, missing=[None]) for _ in range(9)]
    assert "more than 8" in str(compute_verdicts([chain(*lost)])[0].reason)


def test_the_interval_of_a_loss_has_no_upper_limit() -> None:
    left = arm((-0.2, -0.21, -0.19), bounds=(-INF, 0), chance=-2.3, at_chance=[-2.3])
    right = arm((-0.8, -0.81, -0.79), bounds=(-INF, 0), chance=-2.3)
    verdict = compute_verdicts([MeansHypothesis((left, right))])[0]
    assert str(verdict.qualified_phrase) == "reproduced (trained runs only)"


@given(st.floats(-5, 5), st.floats(0.1, 8))
def test_a_claim_is_reproduced_exactly_if_the_interval_lies_in_the_region(
    shift: float, margin: float
) -> None:
    left, right = arm(HIGH), arm([x - shift for x in MIDDLE])
    low, high = welch(HIGH, [x - shift for x in MIDDLE]).interval()
    expected = "reproduced" if -margin < low and high < margin else "inconclusive"
    expected = "contradicted" if high < -margin or low > margin else expected
    if min(abs(edge - end) for edge in (-margin, margin) for end in (low, high)) > 1e-6:
        assert verdict_label(equal(left, right, margin)) == expected


def test_claims_of_all_kinds_are_corrected_as_one_family() -> None:
    questions = [
        MeansHypothesis((arm(HIGH), arm(LOW))),
        about(arm(HIGH), arm(MIDDLE), 4.9, 2.0),
        equal(arm(LOW), arm(LOW), 1.0),
        fails(5, 0),
        chain(arm(HIGH), arm(MIDDLE), arm(LOW)),
        best(arm(HIGH), arm(LOW)),
        faster((1, 1, 1, 1, 2), (6, 6, 6, 6, 6)),
        MeansHypothesis((arm(out_of_memory=[None]), arm(HIGH))),
        MeansHypothesis((arm(NOISY), arm(NOISY))),
    ]
    words = [verdict.label for verdict in compute_verdicts(questions)]
    assert words == ["reproduced"] * 7 + ["untestable", "inconclusive"]
    assert {verdict.label for verdict in compute_verdicts(questions, finished=False)} == {"waiting"}
    assert np.isfinite(
        [verdict.p for verdict in compute_verdicts(questions) if verdict.p is not None]
    ).all()
