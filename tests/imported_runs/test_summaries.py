"""Rows of mean, standard deviation and n get the verdicts of the runs behind them, and the report
names what is unknown.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest
import scipy.stats

import resnetlab as rl
from helpers.commands import check_error_lines, run_command
from helpers.runs_tables import A, B, C, long_rows, report_of
from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.raw_table import RawTable
from resnetlab.imported_runs.summaries import SummaryReport, judge_summaries, parse_summaries

CLAIMS = ("A > B", "A > B + 1", "B = C within 0.5", "A > all", "A > B by 1 within 0.3")
PAPER = (
    "Over 5 runs of A and 5 runs of B, the difference in accuracy is +0.60 points, 95 % CI [0.22, "
    "0.98] (Welch's t-test of a difference above 0.3 points, ν = 7.0, p = 0.105); the claim “A has "
    "a higher accuracy than B, by more than 0.3 points” is inconclusive."
)


def summary(name: str, values: tuple[float, ...]) -> str:
    mean, sd = statistics.mean(values), statistics.stdev(values)
    return f"{name}: {mean:.12f} ± {sd:.12f}, n={len(values)}"


def table() -> RawTable:
    return parse_summaries([summary("A", A), summary("B", B), summary("C", C)])


def test_summaries_give_the_verdicts_and_sentences_of_the_runs(tmp_path: Path) -> None:
    from_means = judge_summaries(table(), declare(claims=CLAIMS))
    from_runs = report_of(long_rows(A=A, B=B, C=C), tmp_path, claims=CLAIMS)
    assert from_means.verdicts == tuple(
        type(verdict)(claim=verdict.claim, verdict=verdict.verdict)
        for verdict in from_runs.verdicts
    )
    assert from_means.sentences == from_runs.sentences
    for known, expected in zip(from_means.statistics, from_runs.analysis.verdicts, strict=True):
        assert known.p == pytest.approx(expected.p, rel=1e-6)
        assert known.forecast == expected.forecast


def test_the_test_equals_the_welch_test() -> None:
    report = judge_summaries(
        parse_summaries(["A: 93.5 ± 0.2, n=5", "B: 93.1 ± 0.4, n=8"]), declare(claims="A > B")
    )
    expected = scipy.stats.ttest_ind_from_stats(93.5, 0.2, 5, 93.1, 0.4, 8, equal_var=False)
    (verdict,) = report.statistics
    assert verdict.p == pytest.approx(expected.pvalue, rel=1e-9)
    half = scipy.stats.t.ppf(0.975, 4) * 0.2 / math.sqrt(5)
    interval = report.interval("A")
    assert interval is not None
    assert interval.high == pytest.approx(93.5 + half, rel=1e-12)


def test_fractions_become_percent_together_with_their_deviation() -> None:
    report = judge_summaries(
        parse_summaries(["A: 0.935 ± 0.002, n=5", "B: 0.93 ± 0.002, n=5"]), declare(claims="A > B")
    )
    assert (report.conditions["A"].mean, report.conditions["A"].sd) == (93.5, 0.2)


@pytest.mark.parametrize("text", ["A: .935 ± .002, n=5", "A: 9.35e-1 ± 2E-3, n=5"])
def test_a_summary_may_have_numbers_of_any_usual_form(text: str) -> None:
    report = judge_summaries(parse_summaries([text]), declare())
    assert (report.conditions["A"].mean, report.conditions["A"].sd) == (93.5, 0.2)


def test_the_number_of_runs_needs_no_memory() -> None:
    words = ["A: 93.5 ± 0.2, n=1000000", "B: 93.1 ± 0.4, n=8"]
    report = judge_summaries(parse_summaries(words), declare(claims="A > B"))
    expected = scipy.stats.ttest_ind_from_stats(93.5, 0.2, 10**6, 93.1, 0.4, 8, equal_var=False)
    assert report.statistics[0].p == pytest.approx(expected.pvalue, rel=1e-9)


def test_a_table_with_columns_of_means_is_recognized(tmp_path: Path) -> None:
    (tmp_path / "means.csv").write_text("model,Mean,std,n\nA,93.5,0.2,5\nB,93.1,0.4,8\n")
    report = rl.judge(tmp_path / "means.csv", ["A > B"])
    assert isinstance(report, SummaryReport)
    assert report.sentences[0].sentence.startswith("Over 5 runs of A and 8 runs of B, the ")
    assert "runs that failed or were left out cannot be seen" in report.reading[-1]


def test_the_command_prints_the_verdict_and_the_sentence(tmp_path: Path) -> None:
    words = ["--summary", "A: 93.5 ± 0.2, n=5", "--summary", "B: 92.9 ± 0.3, n=5"]
    ended = run_command("judge", *words, "--claim", "A > B + 0.3", folder=tmp_path)
    assert ended.output.splitlines() == [
        "2 conditions, each by mean, sd and n.",
        "inconclusive: A has a higher accuracy than B, by more than 0.3 points.",
        f"For a paper: {PAPER}",
        "80 % power: about 13 seeds per condition (95 % range: 7 to 49).",
    ]
    assert "cannot be seen" in ended.errors
    ended = run_command("judge", *words, "--claim", "A > B", "--json", folder=tmp_path)
    assert json.loads(ended.output)["conditions"]["A"]["runs"] == 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--summary", "A 93"], "--summary: not NAME: MEAN ± SD, n=N"),
        (["--summary", "A: 9 ± 1, n=5", "--summary", "A: 9 ± 1, n=5"], "two rows of one condition"),
        (["--summary", "A: 9 ± 1, n=0"], "column n: not allowed"),
        (["--summary", "A: 9 ± 1, n=5", "--paired-by", "seed"], "--paired-by: needs the single"),
        (["--summary", "A: 9 ± 1, n=5", "--out", "x"], "means have no runs"),
        (["runs.csv", "--summary", "A: 9 ± 1, n=5"], "RUNS: given with --summary"),
        ([], "RUNS: neither a table nor --summary"),
    ],
)
def test_mistakes_are_reported_in_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    ended = run_command("judge", *words, folder=tmp_path)
    check_error_lines(ended)
    assert message in ended.errors


def test_a_claim_about_failures_is_refused_for_summaries() -> None:
    with pytest.raises(rl.InputError, match="needs the runs"):
        judge_summaries(table(), declare(claims="A fails and B trains"))


@pytest.mark.parametrize(
    "text", ["A: 93.5 ± 0.25", "A: 93.5 ± 12", "A: 93,5 ± 0,25", "A: 93.5 ± 0.2", "A: 93.5 ± 0.2.5"]
)
def test_no_number_of_runs_is_read_from_the_digits_of_the_sd(text: str) -> None:
    with pytest.raises(rl.InputError, match="not NAME: MEAN ± SD, n=N"):
        parse_summaries([text])


@pytest.mark.parametrize(
    "text",
    [
        "A: 93.5 ± 0.2, n=5",
        "A: 93,5 ± 0,2 n=5",
        "A: 93.5 +- 0.2 (n=5)",
        "A: 93.5 ± 0.2 (5)",
        "A: 93.5 ± 0.2n=5",
        "A\t93.5\t0.2\t5",
        "A; 93.5; 0.2; 5",
        "A:93.5±0.2 5",
        "A: 93,5 +- 0,2; n = 5",
        "A: 93.5 % +/- 0.2 % (n=5)",
    ],
)
def test_every_form_of_a_summary_has_the_same_numbers(text: str) -> None:
    (row,) = parse_summaries([text]).rows
    cells = {name: str(cell).removesuffix("%") for name, cell in row.cells.items()}
    assert cells == {"condition": "A", "mean": "93.5", "sd": "0.2", "n": "5"}


def test_percent_signs_of_means_are_read() -> None:
    texts = ["A: 0.52% ± 0.03%, n=5", "B: 0.55 % ± 0.03 %, n=5"]
    declared = declare(claims="A = B within 0.2", measure="test error")
    report = judge_summaries(parse_summaries(texts), declared)
    (verdict,) = report.statistics
    assert report.measure.unit == "%"
    assert verdict.label == "reproduced"
    assert abs(verdict.effect.estimate) == pytest.approx(0.03)  # type: ignore[union-attr]
