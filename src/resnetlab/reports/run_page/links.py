"""Links from the report of a study to the pages of its runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnetlab.analysis.study_data import StudyData
from resnetlab.reports.document import Report

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
    return replace(report, run_table=replace(report.run_table, rows=rows))
