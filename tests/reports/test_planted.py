"""Every claim of a study whose truth is known gets its verdict: an effect, none, an equivalence, an
arm without trained runs, a missing run, and a condition out of memory.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.synthetic import Runs, Truth, build_report_from_record, study_record
from resnetlab import reports
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.reports.document import Cell, Report
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.study import Study

STUDY = """
name = "planted"
question = "Are truths found?"
data = { source = "digits", validation = 0.1 }
recipe = "digits"
seeds = [0, 1, 2, 3, 4]
[grid]
model.depth = [8, 14, 20, 56]
model.shortcut = ["none", "A", "B"]
"""


def converged(*values: float) -> Runs:
    return [("trained", value) for value in values]


TRUTH: Truth = {
    "plain 8": converged(91.0, 91.3, 90.8, 91.1, 91.4),
    "residual 8 (A)": converged(91.1, 91.2, 90.9, 91.0, 91.3),  # equal to plain 8
    "residual 8 (B)": converged(91.0, 94.0, 88.0, 92.5, 89.0),  # the same in the mean, and noisy
    "plain 14": converged(88.0, 88.3, 87.8, 88.2, 88.1),
    "residual 14 (A)": converged(93.0, 93.4, 92.8, 93.1, 93.3),
    "residual 14 (B)": [*converged(93.2, 93.0, 93.4, 92.9), ("missing", None)],
    "plain 20": [*converged(84.0, 84.5, 83.8), ("at chance", 10.2), ("diverged", None)],
    "residual 20 (A)": converged(95.0, 95.2, 94.8, 95.1, 95.3),
    "residual 20 (B)": [("out of memory", None)] * 5,
    "plain 56": [
        ("at chance", 10.3),
        ("at chance", 14.7),
        ("at chance", 10.3),
        ("diverged", None),
        ("at chance", 10.1),
    ],
    "residual 56 (A)": converged(97.1, 97.3, 96.9, 97.2, 97.0),
    "residual 56 (B)": [
        *converged(95.6, 96.4),
        ("missing", None),
        ("missing", None),
        ("missing", None),
    ],
}


def at(depth: int, shortcut: str) -> str:
    return f'{{ model.depth = {depth}, model.shortcut = "{shortcut}" }}'


CLAIMS = {
    "an effect": ("reproduced", f"left = {at(14, 'A')}\nright = {at(14, 'none')}"),
    "an effect the other way": ("contradicted", f"left = {at(14, 'none')}\nright = {at(14, 'A')}"),
    "an effect in loss": (
        "reproduced",
        f'metric = "loss"\nleft = {at(14, "A")}\nright = {at(14, "none")}',
    ),
    "no effect": ("inconclusive", f"left = {at(8, 'B')}\nright = {at(8, 'A')}"),
    "an equivalence": (
        "reproduced",
        f'kind = "equal"\nmargin = 1.0\nleft = {at(8, "A")}\nright = {at(8, "none")}',
    ),
    "no equivalence": (
        "contradicted",
        f'kind = "equal"\nmargin = 1.0\nleft = {at(14, "A")}\nright = {at(14, "none")}',
    ),
    "a size": (
        "reproduced",
        f'kind = "about"\nsize = 5.0\nleft = {at(14, "A")}\nright = {at(14, "none")}',
    ),
    "a size, half": (
        "partly reproduced",
        f'kind = "about"\nsize = 1.0\nleft = {at(14, "A")}\nright = {at(14, "none")}',
    ),
    "failed runs": ("reproduced", f"left = {at(20, 'A')}\nright = {at(20, 'none')}"),
    "a dead arm": ("inconclusive", f"left = {at(56, 'A')}\nright = {at(56, 'none')}"),
    "it fails": (
        "reproduced",
        f'kind = "fails-and-trains"\nleft = {at(56, "none")}\nright = {at(56, "A")}',
    ),
    "it does not fail": (
        "inconclusive",
        f'kind = "fails-and-trains"\nleft = {at(14, "A")}\nright = {at(8, "A")}',
    ),
    "a missing run": ("reproduced", f"left = {at(14, 'B')}\nright = {at(14, 'none')}"),
    "missing runs that matter": ("inconclusive", f"left = {at(56, 'B')}\nright = {at(20, 'A')}"),
    "out of memory": ("untestable", f"left = {at(20, 'B')}\nright = {at(20, 'none')}"),
    "an average": (
        "inconclusive",
        'kind = "average"\nleft = { model.shortcut = "A" }\nright = { model.shortcut = "none" }',
    ),
    "a ratio": (
        "reproduced",
        (
            'kind = "relative"\nsize = 42.0\nmargin = 20.0\n'
            f"left = {at(14, 'A')}\nright = {at(14, 'none')}"
        ),
    ),
    "a chain": (
        "reproduced",
        'kind = "monotone"\nalong = "model.depth"\nwhere = { model.shortcut = "A" }',
    ),
    "a broken chain": (
        "contradicted",
        (
            'kind = "monotone"\nalong = "model.depth"\nchange = "worsens"\n'
            'where = { model.shortcut = "A" }'
        ),
    ),
    "the best": (
        "reproduced",
        f'kind = "best"\nleft = {at(56, "A")}\namong = {{ model.shortcut = "A" }}',
    ),
    "not the best": (
        "contradicted",
        f'kind = "best"\nleft = {at(14, "A")}\namong = {{ model.shortcut = "A" }}',
    ),
    "a race": (
        "inconclusive",
        f'kind = "faster"\naccuracy_pct = 80.0\nleft = {at(56, "A")}\nright = {at(14, "none")}',
    ),
}


def planted(names: Iterable[str] = tuple(CLAIMS)) -> Study:
    text = STUDY + "".join(
        f'[[claim]]\nstatement = "{name}"\n{CLAIMS[name][1]}\n' for name in names
    )
    return parse_study(tomllib.loads(text), "study.toml", Overrides())


@pytest.fixture(scope="module")
def report() -> Report:
    return build_report_from_record(study_record(TRUTH, study=planted()))


def rows(report: Report) -> dict[str, tuple[Cell, ...]]:
    """Return the rows of the table of claims by statement, without those of directions."""
    return {
        row[0].text: row for row in report.claims.rows if row[0].text != "Direction of this claim"
    }


@pytest.mark.parametrize("name", CLAIMS)
def test_each_planted_truth_gets_its_verdict(report: Report, name: str) -> None:
    expected = CLAIMS[name][0]
    assert rows(report)[name][-1].badge == expected
    assert next(cell.badge for cell in report.verdicts if cell.text == name) == expected


@pytest.mark.parametrize(
    ("name", "word"), [("it does not fail", "contradicted"), ("a race", "reproduced")]
)
def test_exact_tests_of_five_runs_decide_single_claims_but_not_a_large_family(
    name: str, word: str
) -> None:
    alone = build_report_from_record(study_record(TRUTH, study=planted((name,))))
    assert alone.verdicts[0].badge == word


def test_a_claim_with_a_missing_run_is_inconclusive_and_with_that_run_is_reproduced() -> None:
    there = TRUTH | {"residual 56 (B)": converged(95.6, 96.4, 96.0, 96.0, 96.0)}
    names = ("missing runs that matter",)
    badges = [
        build_report_from_record(study_record(truth, study=planted(names))).verdicts[0].badge
        for truth in (TRUTH, there)
    ]
    assert badges == ["inconclusive", "reproduced"]


def test_the_row_of_a_direction_follows_the_row_of_its_size(report: Report) -> None:
    table = report.claims.rows
    index = next(index for index, row in enumerate(table) if row[0].text == "a size, half")
    assert (table[index + 1][0].text, table[index + 1][-1].badge) == (
        "Direction of this claim",
        "reproduced",
    )
    assert sum(row[0].text == "Direction of this claim" for row in table) == 3


def test_each_claim_states_its_comparison_and_its_unit(report: Report) -> None:
    rows_by_label = rows(report)
    assert rows_by_label["an effect in loss"][0].note == "plain 14 − residual 14 (A) in test loss"
    assert rows_by_label["an effect in loss"][1].text.endswith(" nats")
    assert rows_by_label["a size"][0].note == "residual 14 (A) − plain 14: from 2.50 to 7.50 points"
    assert rows_by_label["a ratio"][1].text.endswith(" %")
    assert (rows_by_label["it fails"][1].text, rows_by_label["it fails"][1].note) == (
        "5 of 5 fail",
        "against 0 of 5",
    )
    assert rows_by_label["a race"][1].note == "medians; never: 0 of 5 against 0 of 5"
    assert rows_by_label["a broken chain"][0].note.endswith("every step worsens test accuracy")


def test_a_claim_on_the_train_images_is_tested_and_labeled_on_them() -> None:
    sides = f"left = {at(14, 'A')}\nright = {at(14, 'none')}\n"
    text = STUDY + "".join(
        f'[[claim]]\nstatement = "Better on {split}."\n{sides}split = "{split}"\n'
        for split in ("test", "train")
    )
    study_data = collect_study_data(
        study_record(TRUTH, study=parse_study(tomllib.loads(text), "study.toml", Overrides()))
    )
    learned = {
        "plain 14": 1.0,
        "residual 14 (A)": 9.0,
    }  # by heart: the plain one knows its train images better
    known = tuple(
        replace(row, train_error_pct=learned[row.condition] + row.seed / 10)
        if row.condition in learned
        else row
        for row in study_data.rows
    )
    report = reports.build_report(replace(study_data, rows=known))
    assert [cell.badge for cell in report.verdicts] == ["reproduced", "contradicted"]
    assert (
        rows(report)["Better on train."][0].note
        == "residual 14 (A) − plain 14 in accuracy on the train images"
    )
    assert rows(report)["Better on test."][0].note == "residual 14 (A) − plain 14"
    assert "a fixed part of the train split" in report.claims.note


def test_failed_and_missing_runs_are_listed_and_make_verdicts_conditional(report: Report) -> None:
    rows_by_label = rows(report)
    assert rows_by_label["failed runs"][-1].note == "trained runs only"
    assert rows_by_label["a dead arm"][-1].note.endswith("5 of 5 against 0 of 5 trained")
    assert "seeds per condition" in rows_by_label["missing runs that matter"][-1].note
    assert "memory" in rows_by_label["out of memory"][-1].note


def test_the_note_explains_only_the_kinds_in_the_table_and_counts_its_tests(report: Report) -> None:
    assert f"corrected over the study's {len(CLAIMS) + 3} tests" in report.claims.note
    few = build_report_from_record(study_record(TRUTH, study=planted(("a chain",)))).claims
    assert "the step with the largest p" in few.note
    assert "Boschloo" not in few.note


@pytest.mark.parametrize("name", CLAIMS)
def test_each_kind_of_claim_has_an_answer(name: str) -> None:
    report = build_report_from_record(study_record(TRUTH, study=planted((name,))))
    assert report.answer.endswith(".")
    assert report.verdicts[0].badge in report.answer


def test_a_partial_study_of_every_kind_has_no_verdicts() -> None:
    partial = TRUTH | {"plain 8": [*TRUTH["plain 8"][:4], ("waiting", None)]}
    report = build_report_from_record(study_record(partial, study=planted()))
    assert {cell.badge for cell in report.verdicts} == {"waiting"}
    assert {cell.text for row in report.claims.rows for cell in row[1:-1]} == {"–"}


def test_a_report_of_every_kind_is_rebuilt_from_its_files(tmp_path: Path) -> None:
    study_data = collect_study_data(study_record(TRUTH, study=planted()))
    reports.write_report(study_data, tmp_path / "first")
    assert load_study_data(tmp_path / "first").study.claims == study_data.study.claims
    reports.rebuild(tmp_path / "first", tmp_path / "second")
    for path in (tmp_path / "first").rglob("*.*"):
        assert (
            tmp_path / "second" / path.relative_to(tmp_path / "first")
        ).read_bytes() == path.read_bytes()


def test_the_order_of_seeds_does_not_change_a_verdict(report: Report) -> None:
    record = study_record(TRUTH, study=planted())
    other = build_report_from_record(replace(record, runs=record.runs[::-1]))
    assert [cell.badge for cell in other.verdicts] == [cell.badge for cell in report.verdicts]


def test_the_forest_plot_has_a_row_for_each_claim_with_its_failed_runs(report: Report) -> None:
    rows_by_label = {row.label: row for row in report.forest.rows}
    assert set(rows_by_label) == set(CLAIMS)
    assert rows_by_label["a size"].region == (2.5, 7.5)
    assert (
        rows_by_label["a size"].low < rows_by_label["a size"].effect < rows_by_label["a size"].high
    )
    assert (
        rows_by_label["failed runs"].trained_runs_only,
        rows_by_label["failed runs"].texts[1:],
    ) == (
        True,
        ("5/5 and 3/5 trained", "1 at chance, 1 diverged"),
    )
    assert rows_by_label["out of memory"].texts[2] == "1 at chance, 1 diverged, 5 out of memory"
    assert (rows_by_label["it fails"].effect, rows_by_label["it fails"].texts[0]) == (
        None,
        "5 of 5 fail",
    )
    assert {row.unit for row in rows_by_label.values()} == {"points", "nats", "%", ""}
    for name in CLAIMS:
        effect = rows_by_label[name].texts[0] or "(no estimate)"
        assert f"{name} {effect}: {rows_by_label[name].verdict}" in report.forest.alt


def test_the_forest_plot_is_in_the_page_and_in_the_markdown_report(tmp_path: Path) -> None:
    page = reports.write_report(collect_study_data(study_record(TRUTH, study=planted())), tmp_path)
    assert "Effect of each claim." in page.read_text(encoding="utf-8")
    assert "](figures/claims.svg)" in (tmp_path / "report.md").read_text(encoding="utf-8")
    drawing = (tmp_path / "figures" / "claims.svg").read_text(encoding="utf-8")
    assert "1 at chance, 1 diverged" in drawing
    assert "left better by, nats" in drawing


def test_a_single_claim_and_a_partial_study_have_no_forest_plot() -> None:
    assert (
        build_report_from_record(study_record(TRUTH, study=planted(("an effect",)))).forest is None
    )
    partial = TRUTH | {"plain 8": [*TRUTH["plain 8"][:4], ("waiting", None)]}
    assert build_report_from_record(study_record(partial, study=planted())).forest is None
