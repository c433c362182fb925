"""The report labels differences that no claim declared as exploratory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from helpers.synthetic import TRUTH, Truth, build_report_from_record, study_record
from resnetlab import reports
from resnetlab.analysis.collect import collect_study_data
from resnetlab.reports.document import Table
from resnetlab.reports.render import latex
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.study import Study


def explored(truth: Truth = TRUTH, study: Study | None = None) -> Table | None:
    return build_report_from_record(
        study_record(truth, study=study or replace(load_study("digits"), claims=()))
    ).exploratory


def accuracies(label: str) -> list[float]:
    return [value for outcome, value in TRUTH[label] if outcome == "trained" and value is not None]


def test_a_study_without_claims_compares_every_pair_by_welch_and_benjamini_hochberg() -> None:
    table = explored()
    names = [row[0].text.split(" − ") for row in table.rows]
    assert len(names) == 6
    p = [stats.ttest_ind(accuracies(a), accuracies(b), equal_var=False).pvalue for a, b in names]
    expected = stats.false_discovery_control(p)
    assert expected.tolist() == sorted(expected)
    for row, (a, b), corrected in zip(table.rows, names, expected, strict=True):
        expected_difference = np.mean(accuracies(a)) - np.mean(accuracies(b))
        assert float(row[1].text.replace("−", "-")) == pytest.approx(expected_difference, abs=0.051)
        assert row[-1].text == (
            "< 0.0001" if corrected < 1e-4 else f"{corrected:.{4 if corrected < 1e-3 else 3}f}"
        )
        notes = [f"{k} of 5 runs of {name}" for name in (a, b) if (k := len(accuracies(name))) < 5]
        assert row[0].note == (f"of trained runs alone: {' and '.join(notes)}" if notes else "")
    assert "so there is no verdict" in table.note
    assert "over 6 differences" in table.note


def test_pairs_that_a_claim_compares_are_not_explored_again() -> None:
    names = [row[0].text for row in explored(study=load_study("digits")).rows]
    assert len(names) == 5
    assert "plain 56 − residual 56 (A)" not in names
    study = load_study("digits")
    every = tuple(
        replace(study.claims[0], left=a, right=b)
        for a, b in (("plain 8", "plain 56"), ("residual 8 (A)", "residual 56 (A)"))
    )
    assert explored(study=replace(study, claims=every)) is None


def grid(depths: list[int]) -> Study:
    tables = {
        "name": "wide",
        "question": "Which?",
        "data": "digits",
        "recipe": "digits",
        "seeds": [0, 1, 2],
        "grid": {"model.depth": depths},
    }
    return parse_study(tables, "study.toml", Overrides())


def test_a_large_grid_is_compared_with_its_best_condition_and_truncated() -> None:
    study = grid([6 * n + 2 for n in range(1, 31)])
    generator = np.random.default_rng(0)
    truth = {
        condition.label: [("trained", 90 + n / 10 + x) for x in generator.normal(0, 0.3, 3)]
        for n, condition in enumerate(study.conditions)
    }
    table = explored(truth, study)
    best = max(truth, key=lambda label: np.mean([value for _, value in truth[label]]))
    assert len(table.rows) == 20
    assert all(row[0].text.startswith(f"{best} − ") for row in table.rows)
    assert f"each condition with {best}, selected after the runs (highest mean)" in table.note
    assert "over 29 differences" in table.note
    assert "9 rows with a larger p are left out" in table.note


def test_conditions_that_cannot_be_compared_are_listed_and_constant_ones_get_no_p_value() -> None:
    truth = TRUTH | {
        "plain 8": [("trained", 99.0)] * 5,
        "residual 8 (A)": [("trained", 98.0)] * 5,
        "plain 56": [("at chance", 10.0)] * 5,
    }
    table = explored(truth)
    first = table.rows[0]
    assert (first[0].text, first[1].note, first[2].text, first[-1].text) == (
        "plain 8 − residual 8 (A)",
        "deterministic",
        "–",
        "–",
    )
    assert "over 2 differences" in table.note
    assert table.note.endswith("fewer than 2 trained runs: plain 56.")


def test_an_unfinished_study_has_no_exploratory_table() -> None:
    assert explored(TRUTH | {"plain 8": [*TRUTH["plain 8"][:4], ("waiting", None)]}) is None


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a report in every form."""
    evidence, folder = collect_study_data(study_record()), tmp_path_factory.mktemp("report")
    reports.write_report(evidence, folder)
    latex.write_latex(evidence, folder)
    return folder


@pytest.mark.parametrize("form", ["html", "md", "tex"])
def test_every_form_of_a_report_labels_the_table_as_exploratory(written: Path, form: str) -> None:
    text = (written / f"report.{form}").read_text(encoding="utf-8")
    assert "Exploratory analysis" in text
    assert "No claim declared these differences" in text
