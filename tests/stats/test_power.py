"""The effect that a number of seeds can decide, and the number of seeds for an effect, equal
published tables and scipy's noncentral t.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnetlab.stats.power import (
    minimum_confirmable_margin,
    minimum_detectable_effect,
    required_runs,
)


@pytest.mark.parametrize(
    ("n", "margin", "effect"), [(3, 2.27, 3.07), (5, 1.46, 2.02), (10, 0.94, 1.32)]
)
def test_the_detectable_effect_of_few_seeds_has_its_known_value(
    n: int, margin: float, effect: float
) -> None:
    assert minimum_confirmable_margin(n) == pytest.approx(margin, abs=0.005)
    assert minimum_detectable_effect(n) == pytest.approx(effect, abs=0.006)
    assert minimum_detectable_effect(n, 0.5) == pytest.approx(minimum_detectable_effect(n) / 2)


def test_half_a_standard_deviation_needs_64_runs_per_arm() -> None:
    assert required_runs(0.5) == pytest.approx(63.7656, abs=1e-4)
    assert required_runs(1.0, 2.0) == pytest.approx(63.7656, abs=1e-4)
    assert required_runs(0.0) == math.inf


@given(st.integers(3, 40))
def test_the_smallest_effect_has_80_percent_power(n: int) -> None:
    nu = 2 * (n - 1)
    shift = minimum_detectable_effect(n) / math.sqrt(2 / n)
    power = stats.nct.sf(stats.t.ppf(0.975, nu), nu, shift) + stats.nct.cdf(
        stats.t.ppf(0.025, nu), nu, shift
    )
    assert power == pytest.approx(0.8, abs=1e-6)
    assert required_runs(minimum_detectable_effect(n)) == pytest.approx(n, abs=1e-3)
