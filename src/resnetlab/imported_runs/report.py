"""Verdicts on a table of runs, and their report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resnetlab.analysis.analyze import StudyAnalysis, analyze
from resnetlab.analysis.study_data import ClaimVerdict, StudyData
from resnetlab.imported_runs.declaration import Declaration
from resnetlab.imported_runs.frames import from_frame
from resnetlab.imported_runs.imported_study import import_runs
from resnetlab.imported_runs.open_table import open_table
from resnetlab.imported_runs.raw_table import select_rows
from resnetlab.imported_runs.sentences import ClaimSentences, claim_sentences
from resnetlab.imported_runs.summaries import SummaryReport, has_summaries, judge_summaries
from resnetlab.reports.document import Report
from resnetlab.reports.study.assemble import build_report
from resnetlab.reports.write import write_report


@dataclass(frozen=True)
class ImportedReport:
    """Report on runs that were trained elsewhere."""

    study_data: StudyData
    report: Report

    @property
    def answer(self) -> str:
        """Answer in a sentence, with the first verdict."""
        return self.report.answer

    @property
    def verdicts(self) -> tuple[ClaimVerdict, ...]:
        """Verdict on each claim, in the order of the claims."""
        return self.report.claim_verdicts

    @cached_property
    def sentences(self) -> tuple[ClaimSentences, ...]:
        """Sentences about each claim: its difference, the seeds, and one for a paper."""
        return claim_sentences(self.analysis)

    @cached_property
    def analysis(self) -> StudyAnalysis:
        """Summary of each condition, and the statistics of each claim."""
        return analyze(self.study_data)

    def write(self, folder: str | Path) -> Path:
        """Write the report into a folder, and return the path of its page.

        Raises:
            ResourceError: The disk is full.
        """
        return write_report(self.study_data, Path(folder), self.report)


def report_table(
    source: Any, declaration: Declaration, command: str = ""
) -> ImportedReport | SummaryReport:
    """Return the report on the runs of a path or of a table in memory.

    A table with columns mean, sd and n has no runs; its verdicts come without a report to write.

    Args:
        source: Path of a file or folder, or a frame.
        declaration: Meaning of the columns, design and claims.
        command: Command that repeats the report.

    Raises:
        InputError: The table or the declaration is invalid.
    """
    is_path = isinstance(source, str | Path)
    table = open_table(Path(source), declaration.value) if is_path else from_frame(source)
    if has_summaries(table, declaration):
        return judge_summaries(select_rows(table, declaration.where), declaration)
    study_data = import_runs(table, declaration, command)
    return ImportedReport(study_data, build_report(study_data))
