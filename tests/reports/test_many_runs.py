"""A report of many conditions shows the curves of the first ones, with a note."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.synthetic import TRUTH, build_report_from_record, study_record
from resnetlab.reports.display_limits import select_evenly, select_first
from resnetlab.reports.document import Report
from resnetlab.reports.figures import curves, dots, draw_plot
from resnetlab.reports.figures.dots import drawn_rows
from resnetlab.reports.study import curve_captions, dot_plot, run_table
from resnetlab.reports.study.curve_plots import MAX_PANELS
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study


def test_the_first_of_many_conditions_have_a_panel_and_no_panel_shows_the_others() -> None:
    study = load_study("digits")
    named = [
        replace(study.conditions[k % 4], label=f"{study.conditions[k % 4].label}, {k}")
        for k in range(25)
    ]
    claims = tuple(
        replace(claim, left=named[3].label, right=named[2].label) for claim in study.claims
    )
    many = replace(study, conditions=tuple(named), claims=claims)
    truth = {
        condition.label: TRUTH[study.conditions[k % 4].label] for k, condition in enumerate(named)
    }
    report = build_report_from_record(study_record(truth, study=many))
    assert len(report.dot_plot.rows) == 25
    claim = claims[0]
    *single, pairs = report.curves
    assert [panel.label for panel in pairs.panels] == [f"{claim.left} and {claim.right}"]
    assert pairs.panels[0].partner is not None
    assert pairs.panels[0].partner.label == claim.right
    for picture in single:
        assert [panel.label for panel in picture.panels] == [
            condition.label for condition in named[:MAX_PANELS]
        ]
        cut = named[MAX_PANELS].label
        assert f"24 of 25 conditions; curves.csv has also {cut}." in picture.caption
        assert "Gray" not in picture.caption
    assert "stroke-opacity: 0.45" not in draw_plot(report.curves[0]).wide
    few = build_report_from_record(study_record(TRUTH))
    assert "Gray" in few.curves[0].caption
    assert draw_plot(few.curves[0]).wide.count("stroke-opacity: 0.45") == 4 * 3


@given(
    values=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    limit=st.integers(2, 20),
)
def test_a_selection_from_many_runs_has_the_same_range_and_order(
    values: list[int], limit: int
) -> None:
    part = select_evenly(list(enumerate(values)), limit, lambda item: item[1])
    assert len(part) == min(limit, len(values))
    assert sorted(part) == list(part)
    assert {min(values), max(values)} <= {value for _, value in part}
    first = select_first(values, limit, lambda value: value == 5)
    assert len(first) == len(part)
    assert first.count(5) == min(limit, values.count(5))


def test_a_selection_of_half_of_the_runs_has_their_median() -> None:
    part = select_evenly(range(10_001), 101, lambda value: value)
    assert part == tuple(range(0, 10_001, 100))


def many_runs(conditions: int) -> Report:
    """Return the report of a study of five seeds with a claim about its last two conditions."""
    study = load_study("digits")
    named = [
        replace(study.conditions[k % 4], label=f"{study.conditions[k % 4].label}, {k}")
        for k in range(conditions)
    ]
    claims = tuple(
        replace(claim, left=named[-2].label, right=named[-1].label) for claim in study.claims[:1]
    )
    truth = {
        condition.label: TRUTH[study.conditions[k % 4].label] for k, condition in enumerate(named)
    }
    many = replace(study, conditions=tuple(named), claims=claims)
    return build_report_from_record(study_record(truth, study=many))


def test_the_first_figure_of_many_runs_shows_a_selection_and_states_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dots, "MAX_DOTS", 20)
    monkeypatch.setattr(dot_plot, "MAX_ROWS", 5)
    plot = many_runs(conditions=9).dot_plot
    assert [len(row.dots) for row in plot.rows] == [5] * 9
    assert [row.label for row in drawn_rows(plot)] == [
        row.label for row in (*plot.rows[:3], *plot.rows[-2:])
    ]
    assert [len(row.dots) for row in drawn_rows(plot)] == [4] * 5
    assert plot.caption.endswith(
        "Drawn: 5 of 9 conditions, those of claims first; results.csv has the runs of all, and "
        "the table of conditions has their means. Drawn: at most 4 runs of a condition, evenly "
        "spaced from the lowest to the highest value; results.csv has all runs."
    )
    label = plot.rows[4].label
    drawing = draw_plot(plot).wide
    assert label not in drawing
    assert label not in plot.alt
    assert plot.rows[-1].label.split(",")[0] in drawing


def test_the_table_of_many_runs_has_a_selection_and_states_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_table, "MAX_RUNS", 10)
    every = many_runs(conditions=4)
    table = every.run_table
    assert len(table.rows) == 10
    assert table.note.endswith(
        "The table has 10 of 20 runs: those that are not trained, and then the first ones."
    )
    monkeypatch.setattr(run_table, "MAX_RUNS", 20)
    complete = many_runs(conditions=4).run_table
    assert len(complete.rows) == 20
    assert "The table has" not in complete.note
    failed = [row for row in complete.rows if row[2].badge != "trained"]
    assert failed
    assert set(failed) <= set(table.rows)


def test_learning_curves_of_many_runs_show_a_selection_and_state_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curves, "MAX_LINES", 12)
    monkeypatch.setattr(curve_captions, "MAX_LINES", 12)
    figure = many_runs(conditions=4).curves[0]
    assert [len(panel.runs) for panel in figure.panels] == [5] * 4
    assert [len(curves.drawn_lines(panel, 4)) for panel in figure.panels] == [3] * 4
    assert "Drawn: at most 3 runs of a condition" in figure.caption


def test_a_large_ladder_shows_its_main_rungs_and_lists_the_omitted_side_rungs() -> None:
    """The side rungs come before the last main rung, and four of them have no panel."""
    sides = MAX_PANELS + 1
    text = """
name = "large"
question = "Which step helps?"
data = "digits"
model = "cifar-resnet8"
recipe = { epochs = 10, optimizer = { name = "sgd", lr = 0.1, momentum = 0.0 } }
seeds = [0, 1, 2, 3, 4]
[[rung]]
name = "baseline"
why = "The start."
"""
    main = """[[rung]]
name = "{}"
adds = {{ "recipe.{}" = {} }}
why = "A step."
"""
    text += main.format("+ flip", "augment.flip", "true")
    for k in range(sides):
        text += f"""[[rung]]
name = "side {k:02d}"
instead_of = "+ flip"
adds = {{ "recipe.label_smoothing" = {0.01 * (k + 1)} }}
expect = "none"
why = "Softer targets."
"""
    text += main.format("+ momentum", "optimizer.momentum", "0.9")
    study = parse_study(tomllib.loads(text), "large.toml", Overrides())
    truth = {condition.label: TRUTH["plain 8"] for condition in study.conditions}
    loss = build_report_from_record(study_record(truth, study=study)).curves[0]
    labels = [panel.label for panel in loss.panels]
    assert labels == [
        "baseline",
        "+ flip",
        *(f"side {k:02d}" for k in range(sides - 4)),
        "+ momentum",
    ]
    assert "curves.csv has also side 21, side 22, side 23 and side 24." in loss.caption
