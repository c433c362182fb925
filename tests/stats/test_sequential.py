"""Declared interim looks divide the error among themselves and decide a claim once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from helpers.arms import arm
from resnetlab.analysis.looks import ALPHA_SPENDING
from resnetlab.stats.hypothesis_types import FailureHypothesis, MeansHypothesis
from resnetlab.stats.sequential import Looks
from resnetlab.stats.verdict import compute_sequential_verdicts, compute_verdicts

LOOKS = Looks(tuple(ALPHA_SPENDING), tuple(ALPHA_SPENDING.values()))
HIGH = (97.0, 96.5, 97.5, 96.8, 97.2)
LOW = (96.0, 96.3, 95.9, 96.6, 95.7)


def question(n: int, high: Sequence[float] = HIGH, low: Sequence[float] = LOW) -> MeansHypothesis:
    return MeansHypothesis((arm(high[:n]), arm(low[:n])))


def test_the_error_is_divided_among_the_interim_looks() -> None:
    assert LOOKS.corrected_p([0.04]) == (pytest.approx(0.2), 0)
    assert LOOKS.corrected_p([0.04, 0.012]) == (pytest.approx(0.04), 1)
    assert LOOKS.corrected_p([0.004, 0.9, 0.9]) == (pytest.approx(0.02), 0)


@pytest.mark.parametrize(
    ("seeds", "weights"),
    [((3, 3), (0.5, 0.5)), ((3, 5), (1.0,)), ((3,), (0.0,)), ((3, 5), (0.6, 0.6))],
)
def test_interim_looks_with_too_large_a_total_error_are_refused(
    seeds: tuple[int, ...], weights: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError):
        Looks(seeds, weights)


def test_a_claim_is_decided_by_its_smallest_weighted_p_value() -> None:
    once = [compute_verdicts([question(n)])[0] for n in (3, 5)]
    (verdict,) = compute_sequential_verdicts([[question(3), question(5)]], LOOKS)
    assert verdict.p == pytest.approx(min(once[0].p / 0.2, once[1].p / 0.3))
    assert (verdict.look, verdict.label) == (2, "reproduced")
    assert verdict.confidence == pytest.approx(1 - 0.05 * 0.3)
    assert verdict.effect == once[1].effect


def test_a_verdict_of_an_earlier_interim_look_does_not_change() -> None:
    clear = (50.0, 50.1, 49.9)
    first = compute_sequential_verdicts([[question(3, low=clear)]], LOOKS)[0]
    assert first.label == "reproduced"
    later = MeansHypothesis((arm(HIGH), arm((*clear, 99.0, 99.9))))
    assert (
        compute_sequential_verdicts([[question(3, low=clear), later]], LOOKS)[0].label
        == "reproduced"
    )


def test_numbers_of_seeds_outside_of_the_schedule_are_refused() -> None:
    with pytest.raises(ValueError, match="4 seeds are no look"):
        compute_sequential_verdicts([[question(4)]], LOOKS)
    with pytest.raises(ValueError, match="look 1 is at 3 seeds"):
        compute_sequential_verdicts([[question(5)]], LOOKS)
    with pytest.raises(ValueError, match="look 2 is at 5 seeds"):
        compute_sequential_verdicts([[question(3), question(3)]], LOOKS)


def test_a_failed_run_counts_as_a_seed_of_its_interim_look() -> None:
    late = MeansHypothesis((arm(HIGH[:2], at_chance=[10.0]), arm(LOW[:3])))
    (verdict,) = compute_sequential_verdicts([[late]], LOOKS)
    assert (verdict.look, verdict.trained_runs_only) == (1, True)
    without = MeansHypothesis((arm(HIGH[:2]), arm(LOW[:3])))
    with pytest.raises(ValueError, match="look"):
        compute_sequential_verdicts([[without]], LOOKS)


def test_a_failure_claim_is_tested_once_and_spends_no_error() -> None:
    fails = FailureHypothesis((arm(at_chance=[10.0] * 5), arm(HIGH)))
    verdict = compute_sequential_verdicts([[fails]], LOOKS)[0]
    assert (verdict.label, verdict.p) == ("reproduced", compute_verdicts([fails])[0].p)
    with pytest.raises(ValueError, match="one look"):
        compute_sequential_verdicts(
            [[FailureHypothesis((arm(at_chance=[10.0] * 3), arm(HIGH[:3]))), fails]], LOOKS
        )
