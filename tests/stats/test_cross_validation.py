"""The corrected resampled t-test of Nadeau and Bengio (2003) equals a calculation by hand and
scipy.

Five differences 1, 2, 3, 4, 5 of five folds: the mean is 3 and s^2 is 2.5. Its variance is 2.5 (1/5
+ 1/4) = 1.125, so t = 3 / sqrt(1.125) = 2 sqrt(2), with 4 degrees of freedom.
"""

from __future__ import annotations

import math

import pytest
from scipy import stats

from resnetlab.stats.contrasts import contrast, paired_difference
from resnetlab.stats.hypothesis_types import GREATER, Arm, MeansHypothesis
from resnetlab.stats.intervals import (
    corrected_resampled_interval,
    summarize,
    t_interval,
    variance_of_mean,
)
from resnetlab.stats.outcomes import OutcomeCounts
from resnetlab.stats.verdict import compute_verdicts, region_test

DIFFERENCES = (1.0, 2.0, 3.0, 4.0, 5.0)
OVERLAP = 1 / 4
"""Ratio of test to train images of five folds."""


def test_the_corrected_resampled_t_test_has_its_known_value() -> None:
    effect = paired_difference(DIFFERENCES, OVERLAP)
    assert (effect.estimate, effect.df) == (3.0, pytest.approx(4))
    assert effect.se == pytest.approx(math.sqrt(1.125))
    assert effect.estimate / effect.se == pytest.approx(2 * math.sqrt(2))
    p = 2 * stats.t.sf(2 * math.sqrt(2), 4)
    assert p == pytest.approx(0.04742065, abs=1e-7)
    assert 2 * region_test(effect, GREATER)[0] == pytest.approx(p)
    # 2.7764451 is the .975 quantile of t with 4 degrees of freedom, from a printed table.
    half = 2.7764451 * 1.0606602
    assert effect.interval() == pytest.approx((3 - half, 3 + half), abs=1e-6)
    assert t_interval(DIFFERENCES, overlap=OVERLAP) == pytest.approx(effect.interval())
    assert corrected_resampled_interval(DIFFERENCES, 1, 4) == pytest.approx(effect.interval())


def test_the_corrected_interval_is_wider_than_a_plain_one_by_the_stated_factor() -> None:
    plain = paired_difference(DIFFERENCES)
    corrected = paired_difference(DIFFERENCES, OVERLAP)
    # With K folds, 1 / K + 1 / (K - 1) is (1 + K / (K - 1)) times 1 / K.
    assert (corrected.se / plain.se) ** 2 == pytest.approx(1 + 5 / 4)
    assert plain.interval() == pytest.approx(stats.t.interval(0.95, 4, 3.0, stats.sem(DIFFERENCES)))


def test_two_unpaired_arms_add_their_corrected_variances() -> None:
    a, b = (90.0, 92.0, 91.0), (88.0, 89.0, 87.0)
    effect = contrast((a, b), (1, -1), 0.5)
    assert effect.se**2 == pytest.approx(1.0 * (1 / 3 + 0.5) + 1.0 * (1 / 3 + 0.5))
    assert effect.df == pytest.approx(4)
    assert variance_of_mean(a, 0.5) == pytest.approx(1.0 * (1 / 3 + 0.5))


def hypothesis(overlap: float) -> MeansHypothesis:
    arms = tuple(
        Arm(OutcomeCounts(trained=5), values, 10.0, overlap=overlap)
        for values in ((91.0, 92.0, 93.0, 94.0, 95.0), (90.0,) * 5)
    )
    return MeansHypothesis(arms, pairs=DIFFERENCES)


def test_a_verdict_on_folds_contains_its_test_and_forecasts_no_seeds() -> None:
    (plain,) = compute_verdicts([hypothesis(0.0)])
    (corrected,) = compute_verdicts([hypothesis(OVERLAP)])
    assert (plain.test, corrected.test) == ("", "corrected resampled t-test")
    assert plain.p is not None
    assert corrected.p == pytest.approx(0.04742065, abs=1e-7)
    assert plain.p < corrected.p
    (open_verdict,) = compute_verdicts([hypothesis(1.0)])
    assert (open_verdict.label, open_verdict.forecast) == ("inconclusive", None)


def test_a_summary_of_folds_has_the_corrected_interval() -> None:
    runs = [("trained", value) for value in (91.0, 92.0, 93.0, 94.0, 95.0)]
    summary = summarize(runs, 10.0, overlap=OVERLAP)
    assert summary.interval_pct == pytest.approx((90.0551353, 95.9448647))
    assert summary.all_interval_pct == summary.interval_pct
    assert summarize(runs, 10.0).interval_pct == pytest.approx((91.0367568, 94.9632432))


def test_without_the_chance_accuracy_there_is_no_mean_over_all_runs() -> None:
    runs = [("trained", 91.0), ("trained", 92.0), ("diverged", None)]
    summary = summarize(runs, math.nan)
    assert (summary.all_mean_pct, summary.all_interval_pct, summary.all_rule) == (
        None,
        None,
        "none",
    )
    assert summary.mean_pct == 91.5
    arm = Arm(OutcomeCounts(trained=2, diverged=1), (91.0, 92.0), math.nan)
    assert arm.interval_over_all_runs(arm.trained) == (0.0, 100.0)
