"""Summary of a study: its runs, the answer to its question, and its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.analysis.collect import curve_points, run_rows
from resnetlab.analysis.study_data import CurvePoint, RunRow
from resnetlab.analysis.varied_fields import row_table
from resnetlab.notebook import ObjectSummary, with_summary
from resnetlab.studies.plan import StudyRecord
from resnetlab.table import Table


@with_summary
@dataclass(frozen=True)
class StudySummary:
    """Summary of a study: its runs, the answer to its question, and its report."""

    record: StudyRecord
    answer: str
    """Answer to the study's question, in one or two sentences."""
    report: Path
    """Path of the HTML report."""
    claims: tuple[dict[str, Any], ...] = ()
    """Text and verdict of each claim."""
    first_loss: tuple[str, ...] = ()
    """Loss before the first step beside ln K in words, for each number of classes."""

    @property
    def is_finished(self) -> bool:
        """True if every planned run has a result."""
        return all(run.state == "finished" for run in self.record.runs)

    def runs(self) -> Table:
        """Return the planned runs as a table, with the columns of `results.csv`.

        A column for each field in which the conditions differ, such as `recipe.optimizer.lr`,
        follows `condition` and `seed`.
        """
        return runs_table(self.record)

    def curves(self) -> Table:
        """Return the evaluations of all runs as a table, with the columns of `curves.csv`."""
        return curves_table(self.record)

    def _summary(self) -> ObjectSummary:
        states = list(self.record.states.values())
        title = f"{self.record.study.name}: {states.count('finished')} of {len(states)} runs"
        return ObjectSummary(
            f"{title} finished",
            {"answer": self.answer, "report": self.report},
            ("claim", "verdict"),
            [(claim["claim"], claim["verdict"]) for claim in self.claims],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values, for `--json`."""
        states = list(self.record.states.values())
        return {
            "study": self.record.study.name,
            "answer": self.answer,
            "first_loss": self.first_loss,
            "report": str(self.report),
            "folder": str(self.report.parent),
            "runs": len(states),
            "finished": states.count("finished"),
            "missing": states.count("missing"),
            "claims": self.claims,
        }


def runs_table(record: StudyRecord) -> Table:
    """Return the planned runs of a record as a table; see `StudySummary.runs`."""
    study = record.study
    return row_table(RunRow, run_rows(record), study.conditions, f"Runs of {study.name}")


def curves_table(record: StudyRecord) -> Table:
    """Return the evaluations of a record as a table; see `StudySummary.curves`."""
    study = record.study
    return row_table(CurvePoint, curve_points(record), study.conditions, f"Curves of {study.name}")
