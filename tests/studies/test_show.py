"""The options of `study show` work, and the claims in its output name their conditions."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

import resnetlab as rl
from resnetlab.schema import decode
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.parsing.toml_tables import catalog_names
from resnetlab.studies.show import axes_of, describe_study, set_option, summary_lines
from resnetlab.studies.study import Condition, Study
from resnetlab.studies.timing import catalog_durations as durations
from resnetlab.studies.timing.catalog_durations import Durations


@pytest.mark.parametrize("name", catalog_names("studies"))
def test_the_printed_options_select_exactly_the_named_conditions(name: str) -> None:
    study = load_study(name)
    properties = describe_study(study)
    options = [shlex.split(axis["set"]) for axis in properties["axes"]]
    full = load_study(name, Overrides(settings=tuple(setting for _, setting in options)))
    assert conditions_of(full) == study.conditions
    assert full.left_out == ()
    axis, values = next(iter(axes_of(study).items()))
    first = load_study(name, Overrides(settings=(shlex.split(set_option(axis, values[:1]))[1],)))
    assert conditions_of(first) == tuple(c for c in study.conditions if c.values[axis] == values[0])


def conditions_of(study: Study) -> tuple[Condition, ...]:
    """Return the conditions without the protocol of the file, which a changed study records."""
    return tuple(replace(condition, file_protocol=None) for condition in study.conditions)


def test_a_claim_is_left_out_exactly_if_one_of_its_conditions_is() -> None:
    study = load_study("depth")
    networks = ["depth-report-plain8", "depth-report-resnet8", "depth-report-resnet14"]
    part = load_study("depth", Overrides(settings=(shlex.split(set_option("model", networks))[1],)))
    labels = {condition.label for condition in part.conditions}
    needed = {claim["claim"]: claim["conditions"] for claim in describe_study(study)["claims"]}
    gone = {statement for statement, conditions in needed.items() if not labels >= {*conditions}}
    assert set(describe_study(part)["claims_left_out"]) == gone
    text = "\n".join(summary_lines(part))
    assert all(statement in text for statement in needed)


def test_a_study_shows_its_question_data_seeds_and_references() -> None:
    text = "\n".join(summary_lines(rl.load_study("depth", seeds=3).study))
    for words in (
        "does depth hurt a plain network",
        "Data: cifar10",
        "Seeds: 0, 1, 2",
        "Conditions: 10, so 30 runs",
        "depth report, tables 2 and 3 (10 of 10 conditions)",
    ):
        assert words in text


def test_a_duration_has_its_machine_and_date_and_is_computed_from_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = {
        "machine": "A processor",
        "cores": 2,
        "date": "2026-01-02",
        "torch": "2.0",
        "seconds": {"digits": 90.0, "depth": 118_800.0, "he2016": 4.32e6, "he2016-budget": 2_400},
    }
    measured = decode(Durations, table, "durations.json")
    monkeypatch.setattr(durations, "measured_durations", lambda: measured)
    text = "\n".join(summary_lines(load_study("depth")))
    assert "Duration: about 33 h on 2 cores of A processor (timed on 2026-01-02); " in text
    assert durations.describe_duration("digits").startswith("about 90 s on 2 cores")
    assert durations.describe_duration("he2016").startswith("about 50 days on 2 cores")
    assert "its variant --budget about 40 min; " in durations.describe_duration("he2016")
    assert durations.describe_duration("fixres").startswith("no estimate in the catalog; resnetlab")
