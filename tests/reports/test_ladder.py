"""The section on a ladder shows what each rung reaches and adds, for runs whose truth is known."""

from __future__ import annotations

import csv
import io
import statistics
import tomllib
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from helpers.synthetic import study_record
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.reports import build_report, write_report
from resnetlab.reports.document import Report
from resnetlab.reports.figures import draw_plot
from resnetlab.reports.render import html, latex, markdown
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.plan import StudyRecord
from resnetlab.studies.study import Study

TEXT = """
name = "steps"
question = "Which step helps?"
data = { source = "digits", test_curve = true }
model = "cifar-resnet8"
recipe = { epochs = 10, optimizer = { name = "sgd", lr = 0.1, momentum = 0.0 }, normalize = "none" }
seeds = [0, 1, 2, 3, 4]
[[rung]]
name = "baseline"
why = "Where it begins."
[[rung]]
name = "+ normalization"
adds = { "recipe.normalize" = "train" }
why = "One rate suits all directions."
[[rung]]
name = "halves"
instead_of = "+ normalization"
adds = { "recipe.normalize" = "half" }
expect = "none"
why = "Without statistics."
[[rung]]
name = "+ momentum"
adds = { "recipe.optimizer.momentum" = 0.9 }
expect = "less"
why = "Steps that are too long."
"""
TRUTH: dict[str, list[tuple[str, float | None]]] = {
    "baseline": [("trained", x) for x in (80.1, 80.6, 79.8, 80.4, 80.0)],
    "+ normalization": [("trained", x) for x in (85.1, 85.9, 84.8, 85.4, 85.2)],
    "halves": [("trained", x) for x in (82.0, 82.6, 81.5, 82.4, 82.2)],
    "+ momentum": [
        ("trained", 60.0),
        ("trained", 58.5),
        ("diverged", None),
        ("trained", 61.2),
        ("at chance", 10.0),
    ],
}


def study() -> Study:
    return parse_study(tomllib.loads(TEXT), "steps.toml", Overrides())


def record(truth: Any = None) -> StudyRecord:
    return study_record(truth or TRUTH, study=study(), test_curve=True)


def report(truth: Any = None) -> Report:
    return build_report(collect_study_data(record(truth)))


def values(name: str) -> list[float]:
    return [value for outcome, value in TRUTH[name] if outcome == "trained" and value is not None]


def test_each_rung_is_compared_with_its_parent_by_welch() -> None:
    ladder = report().ladder
    assert ladder is not None
    rows = {row[0].text: row for row in ladder.table.rows}
    for name, parent in (
        ("+ normalization", "baseline"),
        ("halves", "baseline"),
        ("+ momentum", "+ normalization"),
    ):
        test = stats.ttest_ind(values(name), values(parent), equal_var=False)
        interval = test.confidence_interval(0.95)
        gained = f"{statistics.mean(values(name)) - statistics.mean(values(parent)):+.1f}".replace(
            "-", "−"
        )
        assert rows[name][3].text == gained
        assert rows[name][3].note == f"[{interval.low:.1f}, {interval.high:.1f}]".replace("-", "−")
    assert rows["baseline"][3].text == rows["baseline"][4].text == "–"
    assert rows["halves"][5].text == "The study file's explanation: Without statistics."
    assert rows["baseline"][1].text == "80.2 %"


def test_declared_expectations_get_a_verdict_and_other_rungs_get_none() -> None:
    document = report()
    assert document.ladder is not None
    assert document.claims is not None
    rows = {row[0].text: row for row in document.ladder.table.rows}
    assert (rows["+ normalization"][4].badge, rows["+ normalization"][4].note.split("; ")[-1]) == (
        "reproduced",
        "expected: better",
    )
    assert rows["+ momentum"][4].badge == "reproduced"
    assert rows["+ momentum"][4].note.endswith("expected: worse")
    assert rows["halves"][4].text == "no claim"
    p = [
        stats.ttest_ind(values(a), values(b), equal_var=False).pvalue
        for a, b in (("+ normalization", "baseline"), ("+ momentum", "+ normalization"))
    ]
    assert max(p) < 0.001, "far from the line in either order of Holm"
    assert "no claim" not in {row[-1].text for row in document.claims.rows}
    assert len(document.claims.rows) == 2


def test_the_difference_of_train_and_test_accuracy_is_shown_for_each_rung() -> None:
    document = report()
    assert document.ladder is not None
    row = document.ladder.table.rows[0]
    errors = [100 - value for value in values("baseline")]
    train = 100 - 0.9 * statistics.mean(errors)  # as the synthetic runs have it
    assert row[2].text == f"{train:.1f} %"
    assert row[2].note == f"{train - statistics.mean(values('baseline')):+.1f} to test"
    (error,) = [curves for curves in document.curves if curves.key == "test-error"]
    for panel in error.panels:
        assert panel.other_split_mean is not None
        assert panel.mean is not None
        assert panel.other_split_mean.y[-1] < panel.mean.y[-1]
    assert "Dashed: mean error on the fixed train images" in error.caption


def test_the_figure_connects_rungs_to_their_parents_and_marks_side_rungs() -> None:
    ladder = report().ladder
    assert ladder is not None
    assert [(row.label, row.is_side_rung, row.parent) for row in ladder.plot.rows] == [
        ("baseline", False, None),
        ("+ normalization", False, 0),
        ("halves", True, 0),
        ("+ momentum", False, 1),
    ]
    drawing = draw_plot(ladder.plot)
    for svg in (drawing.wide, drawing.narrow):
        for row in ladder.plot.rows:
            assert f">{row.label}<" in svg


def test_a_ladder_without_any_trained_run_has_a_figure() -> None:
    truth = {name: [("at chance", 10.0)] * 5 for name in TRUTH}
    ladder = report(truth=truth).ladder
    assert ladder is not None
    assert ladder.plot.low_pct < ladder.plot.high_pct
    assert "no trained run" in draw_plot(ladder.plot).wide


def test_the_figure_contains_the_intervals_or_its_caption_states_that_they_are_cut_off() -> None:
    committed = Path(__file__).parents[2] / "results" / "ladder"
    ladder = build_report(load_study_data(committed)).ladder
    assert ladder is not None
    plot = ladder.plot
    for row in plot.rows:
        assert row.low_pct is not None
        assert row.high_pct is not None
        assert plot.low_pct < row.low_pct <= row.high_pct < plot.high_pct
    assert "arrowhead" not in plot.caption
    spread = [("trained", 30.0), ("trained", 90.0), *[("at chance", 10.0)] * 3]
    wide = report(truth=TRUTH | {"halves": spread}).ladder
    assert wide is not None
    assert "An arrowhead: the interval goes on beyond the scale." in wide.plot.caption


def test_failed_runs_are_counted_in_the_denominator() -> None:
    ladder = report().ladder
    assert ladder is not None
    assert "3 of 5 trained" in ladder.table.rows[3][1].note


@pytest.mark.parametrize("left", ["waiting", "running"])
def test_an_unfinished_ladder_has_no_verdicts(left: str) -> None:
    ladder = report(TRUTH | {"halves": [*TRUTH["halves"][:4], (left, None)]}).ladder
    assert ladder is not None
    assert {row[3].text for row in ladder.table.rows} == {"–"}
    assert {row[4].text for row in ladder.table.rows} == {"–", "Waiting", "no claim"}


def test_a_rung_without_a_trained_run_is_drawn_without_a_point() -> None:
    ladder = report(TRUTH | {"+ momentum": [("at chance", 10.0)] * 5}).ladder
    assert ladder is not None
    assert ladder.plot.rows[3].mean_pct is None
    assert "no trained run" in draw_plot(ladder.plot).wide


def test_all_renderers_contain_the_ladder_and_other_studies_have_none(tmp_path: Path) -> None:
    document = report()
    drawings = {picture.key: draw_plot(picture) for picture in document.plots}
    for text in (
        html.render(document, drawings),
        markdown.render(document),
        latex.render(document),
    ):
        for why in (
            "Where it begins.",
            "One rate suits all directions.",
            "Steps that are too long.",
        ):
            assert why in text
        assert "side rung" in text
    write_report(collect_study_data(record()), tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "figures" / "ladder.csv").read_text())))
    assert [(row["rung"], row["parent"], row["side"]) for row in rows][2] == (
        "halves",
        "baseline",
        "yes",
    )
    assert float(rows[0]["test_pct"]) == pytest.approx(statistics.mean(values("baseline")))
    assert build_report(collect_study_data(study_record())).ladder is None
