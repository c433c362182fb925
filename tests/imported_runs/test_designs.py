"""Each declared design has its own test: pairs, folds, the best of several runs, one run, and runs
at chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from helpers.runs_tables import A, B, C, long_rows, report_of, verdicts
from resnetlab.errors import InputError
from resnetlab.imported_runs.report import ImportedReport
from resnetlab.stats.verdict import Verdict

LONG = long_rows(A=A, B=B, C=C)


def only_verdict(report: ImportedReport) -> Verdict:
    (verdict,) = report.analysis.verdicts
    return verdict


def test_independent_runs_are_compared_by_welch_and_paired_only_if_declared(tmp_path: Path) -> None:
    verdict = only_verdict(report_of(LONG, tmp_path, claims=("A > B",)))
    expected = stats.ttest_ind(A, B, equal_var=False)
    assert verdict.p == pytest.approx(expected.pvalue)
    assert verdict.effect.df == pytest.approx(expected.df)
    assert verdict.effect.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_declared_pairs_are_compared_by_a_paired_t_test(tmp_path: Path) -> None:
    report = report_of(LONG, tmp_path, claims=("A > B",), paired_by="seed")
    verdict = only_verdict(report)
    expected = stats.ttest_rel(A, B)
    assert verdict.p == pytest.approx(expected.pvalue)
    assert verdict.effect.interval() == pytest.approx(tuple(expected.confidence_interval()))
    assert "Paired by seed, as declared" in report.report.about
    assert report.report.claims.rows[0][4].note == "paired t-test"
    # The exploration of the other differences is paired too.
    row = next(r for r in report.report.exploratory.rows if r[0].text == "A − C")
    paired = stats.ttest_rel(A, C).confidence_interval()
    assert row[2].text == f"[{paired.low:.1f}, {paired.high:.1f}]"


def test_pairs_are_matched_by_seed_and_not_by_the_order_of_the_rows(tmp_path: Path) -> None:
    lines = LONG.splitlines()
    shuffled = [lines[0], *np.random.default_rng(3).permutation(lines[1:]).tolist()]
    first, second = (
        only_verdict(report_of("\n".join(text), tmp_path, claims=("A > B",), paired_by="seed"))
        for text in (lines, shuffled)
    )
    assert first.p == second.p


def test_pairs_need_a_column_and_claims_of_two_conditions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--paired-by: no column of seeds\. Fix: --seed"):
        report_of("model,acc\nA,91\nA,92\nB,93\n", tmp_path, claims=("A > B",), paired_by="seed")
    with pytest.raises(InputError, match="kind best has no test with --paired-by"):
        report_of(LONG, tmp_path, claims=("A > all",), paired_by="seed")
    with pytest.raises(InputError, match="paired_by: no column of folds"):
        report_of(LONG, tmp_path, paired_by="fold")


FOLDS = LONG.replace("seed", "fold")


def by_hand(differences: NDArray[np.float64], folds: int) -> tuple[float, float]:
    """Return the t and p of the corrected resampled t-test, from its formula."""
    n = len(differences)
    variance = np.var(differences, ddof=1) * (1 / n + 1 / (folds - 1))
    t = np.mean(differences) / np.sqrt(variance)
    return t, 2 * stats.t.sf(abs(t), n - 1)


@pytest.mark.parametrize("design", [{"folds": 5}, {"cross_validation": True}, {}])
def test_folds_use_the_corrected_resampled_t_test_and_the_report_explains_the_reason(
    tmp_path: Path, design: dict[str, Any]
) -> None:
    report = report_of(FOLDS, tmp_path, claims=("A > B",), fold="fold", paired_by="fold", **design)
    verdict = only_verdict(report)
    _, p = by_hand(np.array(A) - np.array(B), 5)
    assert verdict.p == pytest.approx(p)
    assert verdict.test == "corrected resampled t-test"
    assert "a plain t-test takes them for independent: its interval is too narrow" in (
        report.report.about
    )
    plain = stats.t.interval(0.95, 4, np.mean(A), stats.sem(A))
    low, high = report.analysis.summaries["A"].interval_pct
    assert high - low == pytest.approx((plain[1] - plain[0]) * 1.5)  # sqrt(1 + 5 / 4)


def test_all_folds_of_several_repetitions_are_pairs(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lines, differences = ["model,seed,fold,accuracy"], []
    for seed in range(2):
        for fold in range(5):
            a, b = generator.normal(91, 0.5), generator.normal(90, 0.5)
            lines += [f"A,{seed},{fold},{a}", f"B,{seed},{fold},{b}"]
            differences.append(a - b)
    report = report_of("\n".join(lines), tmp_path, claims=("A > B",), fold="fold", paired_by="fold")
    _, p = by_hand(np.array(differences), 5)
    assert only_verdict(report).p == pytest.approx(p)
    assert report.study_data.study.imported.folds == 5


def test_folds_that_do_not_match_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"5 folds in the column fold \(got --folds 3\)"):
        report_of(FOLDS, tmp_path, fold="fold", folds=3)
    with pytest.raises(InputError, match="kind fails-and-trains has no test with folds"):
        report_of(FOLDS, tmp_path, fold="fold", claims=("A fails and B trains",))


def test_one_run_of_each_condition_is_described_without_a_verdict(tmp_path: Path) -> None:
    report = report_of("model,acc\nA,91\nB,90\n", tmp_path, claims=("A > B",))
    assert verdicts(report) == []
    assert report.report.claims is None
    assert "A reached 91.0 % in its one trained run" in report.answer
    assert "a description and no verdict on “A has a higher acc than B”" in report.answer


def test_a_condition_with_one_run_makes_a_claim_inconclusive(tmp_path: Path) -> None:
    text = long_rows(A=A, B=(90.0,))
    report = report_of(text, tmp_path, claims=("A > B",))
    assert verdicts(report) == ["inconclusive"]
    assert "too few trained runs" in str(only_verdict(report).reason)


def test_best_values_are_labeled_as_best_and_get_no_badge(tmp_path: Path) -> None:
    report = report_of(LONG, tmp_path, claims=("A > B",), best_of=5, published=("A = 91.3 of 5",))
    assert report.report.dot_plot.title == "Accuracy, best of 5"
    assert "accuracy, best of 5" in report.answer
    assert "The values are the best of 5 runs, and no means." in report.report.limits
    assert report.report.references.rows[0][5].note == "each value here is the best of 5 runs"


def test_the_number_of_test_images_decides_which_runs_are_at_chance(tmp_path: Path) -> None:
    text = long_rows(A=(10.2, 9.8, 10.0, 10.4, 9.9), B=(90.0, 91.0, 90.5, 90.2, 90.8))
    claim = ("A fails and B trains",)
    plain = report_of(text, tmp_path, claims=claim)
    assert verdicts(plain) == ["contradicted"]  # its statuses say that all are trained
    report = report_of(text, tmp_path, claims=claim, chance=10.0, test_images=10_000)
    assert report.analysis.summaries["A"].counts.at_chance == 5
    assert verdicts(report) == ["reproduced"]
    (verdict,) = report.analysis.verdicts
    # Boschloo's p of 5 of 5 against 0 of 5 is 1 / 1024.
    assert verdict.p == pytest.approx(2 / 1024)
    with pytest.raises(InputError, match="test_images: given without chance"):
        report_of(text, tmp_path, test_images=10_000)


@pytest.mark.parametrize("values", [("0.31", "0.42"), ("3100000", "4200000"), ("3.1e-9", "4.2e-9")])
def test_a_loss_of_any_size_is_better_when_lower(tmp_path: Path, values: tuple[str, str]) -> None:
    low, high = map(float, values)
    step = (high - low) / 50
    rows = ["model,seed,val_loss"]
    rows += [f"A,{k},{low + k * step!r}" for k in range(4)]
    rows += [f"B,{k},{high + k * step!r}" for k in range(4)]
    report = report_of("\n".join(rows), tmp_path, claims=("A > B", "B > A"))
    assert verdicts(report) == ["reproduced", "contradicted"]
    first = report.analysis.verdicts[0]
    assert first.effect.estimate == pytest.approx(high - low)  # the decrease
    assert report.report.claims.rows[0][0].note.startswith("B − A in val loss")
    assert report.report.claims.rows[0][1].text.endswith(" val loss")
    mean = np.mean([low + k * step for k in range(4)])
    assert float(report.report.conditions.rows[0][2].text) == pytest.approx(mean, rel=0.05)


def test_a_claim_with_a_margin_is_tested_at_its_margin(tmp_path: Path) -> None:
    for amount, label in ((0.5, "reproduced"), (1, "inconclusive"), (2, "contradicted")):
        verdict = only_verdict(report_of(LONG, tmp_path, claims=(f"A > B + {amount}",)))
        assert verdict.label == label
        # p of the difference from the amount, by Welch's two-sided test.
        expected = stats.ttest_ind(np.array(A) - amount, B, equal_var=False).pvalue
        assert verdict.p == pytest.approx(expected)


def test_a_published_number_is_compared_with_a_prediction_interval(tmp_path: Path) -> None:
    report = report_of(LONG, tmp_path, published=("A = 91.9800", "A = 91.9802"))
    rows = report.report.references.rows
    # STATISTICS: the prediction interval of these five runs for one published run.
    assert rows[0][4].text == "[90.6, 92.0]"
    assert [row[5].text for row in rows] == ["Compatible", "Incompatible"]
    assert len(report.report.dot_plot.rows[0].reference_marks) == 2


def test_missing_runs_that_could_change_a_verdict_make_it_conditional(tmp_path: Path) -> None:
    text = long_rows(A=(91.3, 91.0, 91.6), B=(90.1, 90.3, 89.8))
    full = report_of(text, tmp_path, claims=("A > B",))
    assert verdicts(full) == ["reproduced"]
    more = text + "A,3,\nA,4,\nA,5,\nA,6,\n"
    half = report_of(more, tmp_path, claims=("A > B",), chance=10.0)
    assert half.analysis.summaries["A"].counts.missing == 4
    assert half.analysis.verdicts[0].trained_runs_only


def test_running_runs_give_a_partial_report_without_verdicts(tmp_path: Path) -> None:
    text = LONG.replace("accuracy", "accuracy,state").replace("\nA,4,91.4", "\nA,4,50.0,running")
    lines = text.splitlines()
    text = "\n".join(line if line.count(",") == 3 else f"{line},finished" for line in lines)
    report = report_of(text, tmp_path, claims=("A > B",))
    assert report.report.banner == "Partial report: 14 of 15 runs finished, 1 running"
    assert verdicts(report) == ["waiting"]


PAIRED_A = (91.0, 92.1, 90.2, 93.0, 91.6, 92.4)
PAIRED_B = (90.1, 91.4, 89.9, 92.0, 90.9, 91.3)


def paired_rows(left: Sequence[object], right: Sequence[object]) -> str:
    """Return the table of two conditions; None is an empty cell, and "-" no row at all."""
    lines = ["model,seed,accuracy"]
    for name, values in (("A", left), ("B", right)):
        rows = [f"{name},{k},{'' if v is None else v}" for k, v in enumerate(values) if v != "-"]
        lines += rows
    return "\n".join(lines)


def both_cases(left: Sequence[float], right: Sequence[float | str | None]) -> tuple[float, float]:
    """P without the pair of the last run of B, and with the mean of B in its place."""
    complete = list(zip(left, right[:-1], strict=False))
    dropped = stats.ttest_rel(*zip(*complete, strict=True)).pvalue
    filled = stats.ttest_rel(left, (*right[:-1], np.mean(right[:-1]))).pvalue
    return dropped, filled


@pytest.mark.parametrize("absent", [None, "-"])
def test_a_pair_with_a_missing_run_is_tested_without_the_pair_and_with_the_mean(
    tmp_path: Path, absent: str | None
) -> None:
    right = (*PAIRED_B[:-1], absent)
    report = report_of(paired_rows(PAIRED_A, right), tmp_path, claims=("A > B",), paired_by="seed")
    verdict = only_verdict(report)
    expected = both_cases(PAIRED_A, right)
    assert verdict.p_of_cases == pytest.approx(expected)
    assert verdict.p == pytest.approx(max(expected))
    assert str(verdict.qualified_phrase) == "reproduced (trained runs only)"
    dropped = stats.ttest_rel(PAIRED_A[:-1], PAIRED_B[:-1]).confidence_interval()
    assert verdict.effect.interval() == pytest.approx(tuple(dropped))
    assert "a verdict needs both" in report.report.claims.note
    row = next(row for row in report.study_data.rows if row.status == "missing")
    assert (row.condition, row.seed) == ("B", 5)


def test_a_claim_that_is_significant_in_only_one_case_is_inconclusive(tmp_path: Path) -> None:
    # Without seed 5, A is better by 1 each time; with the mean of B, A is far worse there.
    left, right = (91.0, 92.0, 90.5, 93.0, 91.5, 60.0), (90.0, 91.1, 89.4, 92.1, 90.4, None)
    report = report_of(paired_rows(left, right), tmp_path, claims=("A > B",), paired_by="seed")
    verdict = only_verdict(report)
    assert verdict.p_of_cases[0] < 0.001
    assert verdict.p_of_cases[1] > 0.05
    assert verdict.label == "inconclusive"
    assert verdict.p_of_cases == pytest.approx(both_cases(left, right))
    # The same with the sides exchanged: the claim that loses is not contradicted either.
    other = only_verdict(
        report_of(paired_rows(right, left), tmp_path, claims=("A > B",), paired_by="seed")
    )
    assert other.label == "inconclusive"
    assert other.p_of_cases == pytest.approx(verdict.p_of_cases)


def test_a_pair_with_a_failed_run_is_left_out_and_an_empty_pair_changes_nothing(
    tmp_path: Path,
) -> None:
    table = paired_rows(PAIRED_A, (*PAIRED_B[:-1], "diverged"))
    verdict = only_verdict(report_of(table, tmp_path, claims=("A > B",), paired_by="seed"))
    expected = stats.ttest_rel(PAIRED_A[:-1], PAIRED_B[:-1]).pvalue
    assert (verdict.p, verdict.p_of_cases) == (pytest.approx(expected), ())
    assert verdict.trained_runs_only
    table = paired_rows((*PAIRED_A[:-1], None), (*PAIRED_B[:-1], None))
    verdict = only_verdict(report_of(table, tmp_path, claims=("A > B",), paired_by="seed"))
    assert verdict.p == pytest.approx(expected)
    assert verdict.p_of_cases == pytest.approx((expected,) * 4)


def test_unpaired_runs_include_the_missing_planned_runs(tmp_path: Path) -> None:
    table = paired_rows(PAIRED_A, (*PAIRED_B[:-1], "-"))
    report = report_of(table, tmp_path, claims=("A > B",))
    assert len(report.study_data.rows) == 11
    assert only_verdict(report).p_of_cases == ()
