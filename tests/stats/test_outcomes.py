"""Outcomes and counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnetlab.stats.outcomes import OUTCOMES, chance_upper_bound_pct, count_outcomes, is_at_chance


def test_bound_of_ten_equal_classes_on_ten_thousand_images():
    assert chance_upper_bound_pct(0.1, 10_000, 1) == pytest.approx(11.13, abs=0.005)


@given(st.floats(0.01, 0.99), st.integers(1, 2000), st.integers(1, 300))
def test_bound_is_the_binomial_quantile_corrected_for_the_looks(share, images, evaluations):
    oracle = 100 * stats.binom.ppf(1 - 1e-4 / evaluations, images, share) / images
    assert chance_upper_bound_pct(share, images, evaluations) == pytest.approx(oracle)


def test_a_run_at_the_bound_is_dead_and_one_image_above_it_is_not():
    bound = chance_upper_bound_pct(0.1, 360, 10)
    assert is_at_chance(bound, 0.1, 360, 10)
    assert not is_at_chance(bound + 100 / 360, 0.1, 360, 10)


def test_more_looks_and_one_class_alone_raise_the_bound():
    assert chance_upper_bound_pct(0.1, 360, 100) > chance_upper_bound_pct(0.1, 360, 1)
    assert chance_upper_bound_pct(1.0, 50, 3) == 100


@given(st.lists(st.sampled_from(OUTCOMES)))
def test_every_planned_run_is_counted_once(outcomes):
    counts = count_outcomes(outcomes)
    assert counts.planned == len(outcomes)
    assert counts.finished == counts.trained + counts.failed + counts.missing
    assert counts.complete == (not {"running", "waiting"} & set(outcomes))
