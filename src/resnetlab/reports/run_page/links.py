"""Links from the report of a study to the pages of its runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnetlab.analysis.study_data import StudyData
from resnetlab.reports.document import Cell, ClaimRuns, Report
from resnetlab.studies.claims import condition_labels

RUNS = "runs"
"""Subfolder of a report with the pages of its runs."""


def page_name(run_id: str) -> str:
    """Return the path of a run's page, relative to the report."""
    return f"{RUNS}/{run_id}.html"


def link_run_pages(report: Report, study_data: StudyData, folder: Path) -> Report:
    """Return the report with links to those pages of its runs that exist in `folder`."""
    runs = {row.run for row in study_data.rows}
    pages = {run: page_name(run) for run in runs if (folder / page_name(run)).is_file()}
    if not pages:
        return report
    rows = tuple(
        tuple(
            replace(cell, cited=cell.text, url=pages[cell.text]) if cell.text in pages else cell
            for cell in row
        )
        for row in report.run_table.rows
    )
    return replace(
        report,
        run_table=replace(report.run_table, rows=rows),
        claim_runs=_claim_runs(study_data, report.verdicts, pages),
    )


def _claim_runs(
    study_data: StudyData, statements: tuple[Cell, ...], pages: dict[str, str]
) -> tuple[ClaimRuns, ...]:
    """Return the linked runs of each claim; claims without one are left out."""
    by_label: dict[str, list[tuple[int, str]]] = {}
    for row in study_data.rows:
        if row.run in pages:
            by_label.setdefault(row.condition, []).append((row.seed, pages[row.run]))
    claims = []
    for claim, statement in zip(study_data.study.claims, statements, strict=True):
        labels = dict.fromkeys(condition_labels(claim))
        runs = tuple((label, tuple(by_label[label])) for label in labels if label in by_label)
        if runs:
            claims.append(ClaimRuns(statement.text, runs))
    return tuple(claims)
