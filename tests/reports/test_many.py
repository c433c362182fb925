"""A report of many conditions shows the curves of the first ones, and says so."""

from __future__ import annotations

import tomllib
from dataclasses import replace

from helpers.synthetic import TRUTH, study_record
from resnetlab.reports.figures import draw
from resnetlab.reports.study.assemble import build_report_from_record
from resnetlab.reports.study.plots import MAX_PANELS
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study


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
    assert "stroke-opacity: 0.45" not in draw(report.curves[0]).wide
    few = build_report_from_record(study_record(TRUTH))
    assert "Gray" in few.curves[0].caption
    assert draw(few.curves[0]).wide.count("stroke-opacity: 0.45") == 4 * 3


def test_a_large_ladder_shows_its_main_rungs_and_names_what_it_cuts() -> None:
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
    shown = [panel.label for panel in loss.panels]
    assert shown == [
        "baseline",
        "+ flip",
        *(f"side {k:02d}" for k in range(sides - 4)),
        "+ momentum",
    ]
    assert "curves.csv has also side 21, side 22, side 23 and side 24." in loss.caption
