"""`judge` gives the verdicts of the reports of committed studies to a table of their runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.documents import ROOT
from resnetlab.analysis.analyze import analyze
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.study_data import StudyData
from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.report import ImportedReport, report_table
from resnetlab.schema import encode
from resnetlab.studies.claims import claim_split

FOLDERS = sorted(path.parent for path in (ROOT / "results").glob("*/report.json"))


def comparable(study_data: StudyData) -> bool:
    """Return true if all claims are about test accuracy of independent runs, on one data set."""
    study = study_data.study
    return (
        len(study_data.data) == 1
        and bool(study.claims)
        and not study.looks
        and not study.shared_runs
        and all(
            getattr(claim, "metric", "top1") == "top1"
            and claim_split(claim) == "test"
            and not getattr(claim, "paired", False)
            and claim.kind != "faster"
            for claim in study.claims
        )
    )


def imported(study_data: StudyData) -> ImportedReport:
    rows = [
        {
            "condition": row.condition,
            "seed": row.seed,
            "status": row.status,
            "accuracy": None if row.test_error_pct is None else 100 - row.test_error_pct,
        }
        for row in study_data.rows
    ]
    claims = [
        {
            key: value
            for key, value in encode(claim).items()
            if key not in ("metric", "split", "paired")
        }
        for claim in study_data.study.claims
    ]
    chance = 100 * study_data.data[0].class_share
    return report_table(rows, declare(unit="percent", chance=chance, claim=claims))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_table_of_a_study_gives_the_same_summaries_and_verdicts(folder: Path) -> None:
    study_data = load_study_data(folder)
    if not comparable(study_data):
        pytest.skip("its claims compare more than test accuracies")
    expected, actual = analyze(study_data), imported(study_data).analysis
    assert actual.counts == expected.counts
    assert list(actual.summaries) == list(expected.summaries)
    for label, summary in expected.summaries.items():
        assert actual.summaries[label] == summary
    for verdict, reference in zip(actual.verdicts, expected.verdicts, strict=True):
        assert (verdict.label, verdict.reason) == (reference.label, reference.reason)
        assert (verdict.p, verdict.p_holm) == (reference.p, reference.p_holm)
        assert (verdict.effect, verdict.forecast) == (reference.effect, reference.forecast)


def test_at_least_some_studies_are_compared() -> None:
    assert sum(comparable(load_study_data(folder)) for folder in FOLDERS) >= 3
