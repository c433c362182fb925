"""A condition that a claim names twice is one sample, and its mean has one error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from helpers.runs_tables import long_rows, report_of
from resnetlab.errors import InputError
from resnetlab.stats.contrasts import Effect

A, B, C = (91.3, 91.0, 91.6), (90.1, 90.3, 89.8), (90.0, 91.4, 90.1)
TABLE = long_rows(A=A, B=B, C=C)


def declared(
    folder: Path, kind: str, left: list[str], right: list[str], text: str = TABLE, **more: object
) -> tuple[Effect, float]:
    """Return the effect and the p-value of a declared claim."""
    claim = {"statement": "s", "kind": kind, "left": left, "right": right, **more}
    (verdict,) = report_of(text, folder, claim=(claim,)).analysis.verdicts
    assert verdict.effect is not None
    assert verdict.p is not None
    return verdict.effect, verdict.p


def linear(
    gradient: NDArray[np.float64], arms: tuple[tuple[float, ...], ...]
) -> tuple[float, float]:
    """Return the standard error of a sum of independent means, and Satterthwaite's nu."""
    parts = np.array([(g * stats.sem(arm)) ** 2 for g, arm in zip(gradient, arms, strict=True)])
    sizes = np.array([len(arm) for arm in arms])
    return np.sqrt(parts.sum()), parts.sum() ** 2 / np.sum(parts**2 / (sizes - 1))


def test_an_average_against_one_condition_twice_has_its_error_once(tmp_path: Path) -> None:
    effect, p = declared(tmp_path, "average", ["A", "B"], ["C", "C"])
    se, nu = linear(np.array([0.5, 0.5, -1.0]), (A, B, C))
    estimate = (np.mean(A) + np.mean(B)) / 2 - np.mean(C)
    assert (effect.estimate, effect.se, effect.df) == (
        pytest.approx(estimate),
        pytest.approx(se),
        pytest.approx(nu),
    )
    assert p == pytest.approx(2 * stats.t.sf(abs(estimate / se), nu))


def test_a_pair_that_is_named_twice_is_the_same_claim_as_once(tmp_path: Path) -> None:
    expected = stats.ttest_ind(A, C, equal_var=False)
    for kind in ("average", "every"):
        effect, p = declared(tmp_path, kind, ["A", "A"], ["C", "C"])
        assert effect.interval() == pytest.approx(tuple(expected.confidence_interval()))
        assert p == pytest.approx(expected.pvalue)


def test_a_condition_on_both_sides_cancels_in_an_average(tmp_path: Path) -> None:
    effect, p = declared(tmp_path, "average", ["A", "B"], ["B", "C"])
    expected = stats.ttest_ind(A, C, equal_var=False)
    assert effect.estimate == pytest.approx((np.mean(A) - np.mean(C)) / 2)
    assert p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("left", "right"),
    [(["A", "B"], ["C", "C"]), (["A", "A"], ["B", "C"]), (["A", "B"], ["B", "C"])],
)
def test_a_ratio_to_a_repeated_condition_has_the_error_of_the_delta_method(
    left: list[str], right: list[str], tmp_path: Path
) -> None:
    more = {"size": 1.0, "margin": 5.0}
    effect, _ = declared(tmp_path, "relative", left, right, **more)

    def mean_ratio(means: NDArray[np.float64]) -> float:
        value = dict(zip("ABC", means, strict=True))
        pairs = zip(left, right, strict=True)
        return float(np.mean([100 * (value[a] - value[b]) / value[b] for a, b in pairs]))

    means = np.array([np.mean(arm) for arm in (A, B, C)])
    steps = 1e-4 * np.eye(3)
    gradient = np.array(
        [(mean_ratio(means + step) - mean_ratio(means - step)) / 2e-4 for step in steps]
    )
    se, nu = linear(gradient, (A, B, C))
    assert effect.estimate == pytest.approx(mean_ratio(means))
    assert (effect.se, effect.df) == (pytest.approx(se, rel=1e-6), pytest.approx(nu, rel=1e-6))


def test_steps_that_return_to_a_condition_are_tested_pair_by_pair(tmp_path: Path) -> None:
    effect, p = declared(tmp_path, "every", ["A", "B"], ["B", "C"])
    first = stats.ttest_ind(A, B, equal_var=False, alternative="greater").pvalue
    second = stats.ttest_ind(B, C, equal_var=False, alternative="greater").pvalue
    against = stats.ttest_ind(B, C, equal_var=False, alternative="less").pvalue
    assert p == pytest.approx(2 * min(max(first, second), 2 * against))
    assert effect.estimate == pytest.approx(np.mean(B) - np.mean(C))


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ({"kind": "greater", "left": "A", "right": "A"}, "compares the condition A with itself"),
        ({"kind": "every", "left": ["A", "B"], "right": ["C", "B"]}, "the condition B with itself"),
        ({"kind": "average", "left": ["A", "B"], "right": ["B", "A"]}, "the same conditions"),
        ({"kind": "monotone", "along": "x", "order": ["A", "B", "A"]}, "the condition A with"),
        ({"kind": "best", "left": "A", "rivals": ["B", "A"]}, "the condition A with itself"),
    ],
)
def test_a_condition_is_never_compared_with_itself(
    claim: dict[str, object], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"claim\\[0\\]: .*{expected}.* Fix: compare two of"):
        report_of(TABLE, tmp_path, claim=({"statement": "s"} | claim,))
