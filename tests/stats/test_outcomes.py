"""Each run is classified as trained, at chance, failed or missing, and counted once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnetlab.stats.chance import (
    agreement_p_value,
    chance_note,
    chance_upper_bound_pct,
    compare_with_chance,
    is_at_chance,
    is_decidable,
)
from resnetlab.stats.outcomes import OUTCOMES, Outcome, count_outcomes


def test_the_bound_of_ten_equal_classes_on_ten_thousand_images_is_11_13_percent() -> None:
    assert chance_upper_bound_pct(0.1, 10_000, 1) == pytest.approx(11.13, abs=0.005)


@given(st.floats(0.01, 0.99), st.integers(1, 2000), st.integers(1, 300))
def test_the_bound_is_the_binomial_quantile_corrected_for_the_evaluations(
    share: float, images: int, evaluations: int
) -> None:
    oracle = 100 * stats.binom.ppf(1 - 1e-4 / evaluations, images, share) / images
    assert chance_upper_bound_pct(share, images, evaluations) == pytest.approx(oracle)


def test_a_run_at_the_bound_is_at_chance_and_one_more_correct_image_is_above() -> None:
    bound = chance_upper_bound_pct(0.1, 360, 10)
    assert is_at_chance(bound, 0.1, 360, 10)
    assert not is_at_chance(bound + 100 / 360, 0.1, 360, 10)


def test_more_evaluations_and_a_single_class_raise_the_bound() -> None:
    assert chance_upper_bound_pct(0.1, 360, 100) > chance_upper_bound_pct(0.1, 360, 1)
    assert chance_upper_bound_pct(1.0, 50, 3) == 100


@given(st.lists(st.sampled_from(OUTCOMES)))
def test_every_planned_run_is_counted_once(outcomes: list[Outcome]) -> None:
    counts = count_outcomes(outcomes)
    assert counts.planned == len(outcomes)
    assert counts.ended == counts.trained + counts.failed + counts.missing
    assert counts.is_complete == (not {"running", "waiting"} & set(outcomes))


def test_agreement_is_the_exact_test_of_fisher_and_a_constant_answer_gives_1() -> None:
    labels = np.array([0] * 180 + [1] * 8)
    some = labels.copy()
    some[:10], some[-2:] = 1, 0
    table = [[170, 10], [2, 6]]
    fisher = stats.fisher_exact(table, alternative="greater").pvalue
    assert agreement_p_value(labels, some) == pytest.approx(2 * fisher)
    assert agreement_p_value(labels, np.zeros_like(labels)) == 1
    assert agreement_p_value(labels, labels) == pytest.approx(2 / math.comb(188, 8))


@pytest.mark.parametrize(
    ("share", "images", "counts"),
    [(0.5, 12, (50, 50)), (0.957, 94, (180, 8)), (1 / 3, 2, (5, 5, 5)), (1 / 3, 2, (1, 1, 1))],
)
def test_a_run_that_is_correct_on_every_image_is_never_at_chance(
    share: float, images: int, counts: tuple[int, ...]
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    decision = compare_with_chance(100.0, share, images, 9, (labels, labels))
    assert decision == ("cannot be told" if len(labels) == 3 else "above chance")


def test_a_constant_answer_is_at_chance_if_the_images_can_decide() -> None:
    uneven = np.repeat([0, 1], [180, 8])
    constant = np.zeros_like(uneven)
    assert compare_with_chance(95.7, 0.957, 94, 9, (uneven, constant)) == "at chance"
    even = np.repeat([0, 1], [50, 50])
    assert compare_with_chance(50.0, 0.5, 12, 9, (even, np.zeros_like(even))) == "at chance"
    few = np.arange(3)
    assert compare_with_chance(50.0, 1 / 3, 2, 9, (few, np.zeros_like(few))) == "cannot be told"


def test_chance_is_the_class_share_of_the_images_that_were_evaluated() -> None:
    """A validation split of 80 to 20, from an uneven train split, and an even test split."""
    even = np.repeat([0, 1], 500)
    test = even, np.zeros_like(even)
    assert compare_with_chance(80.0, 0.8, 1000, 20, test, test_class_share=0.5) == "at chance"
    assert compare_with_chance(65.0, 0.5, 1000, 20, test, test_class_share=0.8) == "above chance"


def test_a_decidable_validation_split_decides_unless_the_test_split_is_requested() -> None:
    labels = np.repeat(np.arange(10), 100)
    assert is_decidable(0.1, 360, 10)
    assert compare_with_chance(12.0, 0.1, 360, 10, (labels, labels)) == "at chance"
    assert (
        compare_with_chance(12.0, 0.1, 360, 10, (labels, labels), use_test_split=True)
        == "above chance"
    )


def test_predictions_that_ignore_the_images_do_not_count_as_trained() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        labels = generator.choice(2, 100, p=(0.9, 0.1))
        predicted = generator.choice(2, 100, p=(0.8, 0.2))
        share = np.bincount(labels).max() / 100
        assert compare_with_chance(50.0, share, 10, 9, (labels, predicted)) != "above chance"


def test_undecidable_splits_are_reported_before_training() -> None:
    assert chance_note(0.1, 5000, 10_000, 200) == ""
    assert chance_note(0.5, 0, 100, 9) == ""
    note = chance_note(0.957, 94, 188, 9)
    assert note.startswith("luck alone reaches 100.0 % of 94 validation images")
    assert note.endswith("too few or too uneven")
    assert chance_note(0.5, 12, 100, 9).endswith("the 100 test images decide at the end")
