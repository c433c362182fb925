"""Files of a report: an HTML page, a Markdown document with figures, and their values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnetlab import files
from resnetlab.analysis.data_files import load_study_data, save_study_data
from resnetlab.analysis.study_data import StudyData
from resnetlab.reports import figures
from resnetlab.reports.document import Report
from resnetlab.reports.figures import values
from resnetlab.reports.render import html, markdown
from resnetlab.reports.run_page.links import link_run_pages
from resnetlab.reports.study.assemble import build_report
from resnetlab.translation import use_language


def write_report(
    study_data: StudyData,
    folder: Path,
    report: Report | None = None,
    english: Report | None = None,
    has_run_pages: bool = False,
) -> Path:
    """Write the report into `folder`, each file atomically. Return the path of `report.html`.

    The page is written last, so that its numbers are always there first.

    Args:
        study_data: Results of the study.
        folder: Folder of the report's files.
        report: Report of the same results, if the caller has already built it.
        english: The same report in English, if the caller has built it too.
        has_run_pages: True if the pages of runs in `folder` belong to these results. The report
            links them.

    Raises:
        ResourceError: The disk is full.
    """
    report = report or build_report(study_data)
    with use_language(report.language):
        drawings = {picture.key: figures.draw_plot(picture) for picture in report.plots}
    with_answers = replace(study_data, verdicts=report.claim_verdicts, answers=report.answers)
    save_study_data(with_answers, folder)
    for key, drawing in drawings.items():
        files.write_text(folder / "figures" / f"{key}.svg", figures.to_standalone_svg(drawing.wide))
    # Data files are English, like the columns of the others.
    english = report if report.language == "en" else english or build_report(study_data)
    for picture in english.plots:
        if csv_values := values.plot_csv(picture):
            files.write_text(folder / "figures" / f"{picture.key}.csv", csv_values)
    page = folder / "report.html"
    with use_language(report.language):
        files.write_text(folder / "report.md", markdown.render(report))
        linked = link_run_pages(report, study_data, folder) if has_run_pages else report
        files.write_text(page, html.render(linked, drawings))
    return page


def rebuild(folder: Path, destination: Path | None = None) -> Path:
    """Write the report again from the `report.json`, `results.csv` and `curves.csv` of `folder`."""
    return write_report(load_study_data(folder), destination or folder)
