"""A report of many conditions shows the curves of the first ones, and says so."""

from __future__ import annotations

from dataclasses import replace

from helpers.synthetic import TRUTH, study_record
from resnetlab.reports.figures import draw
from resnetlab.reports.study.assemble import build_report_from_record
from resnetlab.reports.study.plots import MAX_PANELS
from resnetlab.studies.parsing.study_file import load_study


def test_of_many_conditions_the_first_have_a_panel_and_none_shows_all_others() -> None:
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
    for picture in report.curves:
        assert [panel.label for panel in picture.panels] == [
            condition.label for condition in named[:MAX_PANELS]
        ]
        cut = named[MAX_PANELS].label
        assert f"24 of 25 conditions; curves.csv has also {cut}." in picture.caption
        assert "Gray" not in picture.caption
    assert "stroke-opacity: 0.45" not in draw(report.curves[0]).wide
    few = build_report_from_record(study_record(TRUTH))
    assert "Gray" in few.curves[0].caption
    assert draw(few.curves[0]).wide.count("stroke-opacity: 0.45") == 4 * 3
