"""The distributions in plain Python agree with scipy, so that a browser prints the same digits."""

from __future__ import annotations

import math

import pytest
import scipy.special
from hypothesis import example, given
from hypothesis import strategies as st

from resnetlab.stats import distributions

PRECISION = 1e-12

degrees = st.floats(1.0, 200.0)
levels = st.floats(0.001, 0.999)


@given(degrees, st.floats(-40.0, 40.0))
@example(1.0, 0.0)
@example(4.0, -1e-9)
def test_the_tail_of_student_equals_scipy(df: float, t: float) -> None:
    expected = float(scipy.special.stdtr(df, t))
    assert distributions.stdtr(df, t) == pytest.approx(expected, rel=PRECISION)


@given(degrees, levels)
@example(2.9694460013093447, 0.8)  # scipy is off by 6e-13 here
@example(7.0, 0.5)
def test_the_quantile_of_student_equals_scipy(df: float, p: float) -> None:
    expected = float(scipy.special.stdtrit(df, p))
    assert distributions.stdtrit(df, p) == pytest.approx(expected, rel=PRECISION, abs=1e-14)


@given(degrees, st.sampled_from((0.025, 0.975, 0.5)))
def test_the_quantile_of_chi_square_equals_scipy(df: float, p: float) -> None:
    expected = float(scipy.special.chdtri(df, p))
    assert distributions.chdtri(df, p) == pytest.approx(expected, rel=PRECISION)


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from((0.0125, 0.025, 0.975, 0.9875)))
def test_the_quantile_of_beta_equals_scipy(a: int, b: int, p: float) -> None:
    expected = float(scipy.special.betaincinv(a, b, p))
    assert distributions.betaincinv(a, b, p) == pytest.approx(expected, rel=PRECISION)


@given(levels)
def test_the_quantile_of_the_normal_distribution_equals_scipy(p: float) -> None:
    expected = float(scipy.special.ndtri(p))
    assert distributions.ndtri(p) == pytest.approx(expected, rel=PRECISION, abs=1e-15)


def test_student_with_one_degree_of_freedom_is_cauchy() -> None:
    assert distributions.stdtrit(1.0, 0.75) == pytest.approx(1.0, rel=1e-14)
    assert distributions.stdtr(1.0, 2.0) == pytest.approx(0.5 + math.atan(2) / math.pi, rel=1e-14)


def test_scipy_is_used_if_installed() -> None:
    assert distributions.special() is scipy.special
