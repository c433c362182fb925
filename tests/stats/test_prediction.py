"""Published numbers are compared with measured ones by prediction intervals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resnetlab.stats.contrasts import welch
from resnetlab.stats.intervals import mean, t_interval
from resnetlab.stats.prediction import (
    ReportedResult,
    compare_with_reported,
    expected_maximum,
    maximum_prediction_half_width,
    prediction_interval,
)

RUNS = (91.3, 91.0, 91.6, 91.2, 91.4)


def test_the_prediction_interval_of_one_published_run_equals_its_formula() -> None:
    assert prediction_interval([(RUNS, ReportedResult(91.25))]) == pytest.approx(
        (90.6199, 91.9801), abs=1e-4
    )


def test_rounding_widens_the_interval_and_more_published_runs_narrow_it() -> None:
    low, high = prediction_interval([(RUNS, ReportedResult(91.25, half_width=0.005))])
    assert (low, high) == pytest.approx((90.6149, 91.9851), abs=1e-4)
    assert prediction_interval([(RUNS, ReportedResult(91.25, runs=10**9))]) == pytest.approx(
        t_interval(RUNS), abs=1e-4
    )


@pytest.mark.parametrize(("m", "shift"), [(1, 0.0), (3, 0.846), (5, 1.163), (10, 1.539)])
def test_the_best_of_some_runs_is_expected_above_their_mean(m: int, shift: float) -> None:
    assert expected_maximum(m) == pytest.approx(shift, abs=5e-4)
    low, high = prediction_interval([(RUNS, ReportedResult(91.5, m, is_best=True))])
    assert (low + high) / 2 == pytest.approx(mean(RUNS) + expected_maximum(m) * 0.2236068)


@settings(max_examples=20)
@given(st.integers(2, 200), st.floats(0.5, 0.999))
def test_the_best_of_one_run_has_the_prediction_interval_of_student(
    n: int, confidence: float
) -> None:
    t = stats.t.ppf((1 + confidence) / 2, n - 1)
    assert maximum_prediction_half_width(n, 1, confidence) == pytest.approx(
        t * math.sqrt(1 + 1 / n), rel=1e-7
    )


def test_the_best_of_several_runs_has_the_interval_of_the_studentized_maximum() -> None:
    # With a known deviation (n very large), the largest of m lies within h of its mean with
    # probability .95.
    for m in (3, 5, 10):
        h, c = maximum_prediction_half_width(100_000, m, 0.95), expected_maximum(m)
        assert stats.norm.cdf(c + h) ** m - stats.norm.cdf(c - h) ** m == pytest.approx(
            0.95, abs=1e-4
        )


def test_a_difference_of_published_numbers_includes_the_error_of_both() -> None:
    other = (90.1, 90.4, 90.0, 90.2, 90.5)
    low, high = prediction_interval([(RUNS, ReportedResult(91.3)), (other, ReportedResult(90.3))])
    one = prediction_interval([(RUNS, ReportedResult(91.3))])
    assert (low + high) / 2 == pytest.approx(mean(RUNS) - mean(other))
    assert high - low > one.high - one.low


def test_runs_of_the_source_are_compared_by_welch_if_they_are_independent() -> None:
    source = ReportedResult(91.2, 3, values=(91.1, 91.2, 91.3))
    badge, _, effect = compare_with_reported(RUNS, source)
    assert (badge, effect) == ("compatible", welch(RUNS, source.values))
    shared = ReportedResult(91.2, 3, values=(91.1, 91.2, 91.3), independent=False)
    badge, interval, effect = compare_with_reported(RUNS, shared)
    assert (badge, effect) == ("compatible", None)
    assert interval == prediction_interval(
        [(RUNS, ReportedResult(91.2))]
    )  # what is shared is one draw


def test_a_number_far_from_these_runs_is_incompatible() -> None:
    assert compare_with_reported(RUNS, ReportedResult(93.6))[0] == "incompatible"
    assert (
        compare_with_reported(RUNS, ReportedResult(93.6, 3, values=(93.5, 93.6, 93.7)))[0]
        == "incompatible"
    )
    assert compare_with_reported((91.0, 91.0), ReportedResult(91.0))[0] == "compatible"


@given(st.floats(85, 97), st.integers(1, 10), st.booleans(), st.floats(0, 0.5))
def test_the_badge_is_compatible_exactly_if_the_value_lies_in_the_interval(
    value: float, m: int, best: bool, r: float
) -> None:
    badge, (low, high), _ = compare_with_reported(RUNS, ReportedResult(value, m, best, r))
    assert badge == ("compatible" if low <= value <= high else "incompatible")
