"""Table of the planned runs of a study."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from resnetlab.analysis.study_data import RunRow
from resnetlab.reports.display_limits import MAX_RUNS, select_first
from resnetlab.reports.document import Cell, RunKey, Table, number_columns, text_columns
from resnetlab.reports.format import DASH, format_duration, format_number, format_pct, join_clauses
from resnetlab.translation import localize_number, tr, tr_recorded, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def table_of_runs(analysis: StudyAnalysis) -> Table:
    """Return the table of every planned run."""
    columns = (
        *text_columns("Condition"),
        *number_columns("Seed"),
        *text_columns("Status"),
        *number_columns("Test accuracy", "Train loss, nats", "Epochs", "Training", "Attempts"),
        *text_columns("Run"),
    )
    listed, left_out = listed_runs(analysis)
    rows = tuple(_run_row(row, analysis.summaries[row.condition].chance_pct) for row in listed)
    note = tr("An attempt is a start or a resumption. results.csv has all columns of all runs.")
    return Table("ledger", columns, rows, note + left_out, "scroll", run_keys(listed))


def listed_runs(analysis: StudyAnalysis) -> tuple[tuple[RunRow, ...], str]:
    """Return the runs of the table, and a sentence about those that it leaves out."""
    every = [row for label in analysis.summaries for row in analysis.rows(label)]
    listed = select_first(every, MAX_RUNS, lambda row: row.status != "trained")
    if len(listed) == len(every):
        return listed, ""
    sentence = tr(
        "The table has {listed:,} of {runs:,} runs: those that are not trained, and then the "
        "first ones.",
        listed=len(listed),
        runs=len(every),
    )
    return listed, f" {sentence}"


def run_keys(rows: Sequence[RunRow]) -> tuple[RunKey, ...]:
    """Return the key of each run, in the order of the table of runs.

    The anchor has the last part of the run's id. A run that two conditions share is there twice,
    so a repeated anchor gets a number.
    """
    anchors: dict[str, int] = {}
    keys = []
    for row in rows:
        short = re.search(r"-([0-9a-f]{10})$", row.run)
        anchor = f"run-{short[1] if short else re.sub(r'[^A-Za-z0-9.]+', '-', row.run)}"
        anchors[anchor] = anchors.get(anchor, 0) + 1
        unique = anchor if anchors[anchor] == 1 else f"{anchor}-{anchors[anchor]}"
        keys.append(RunKey(row.condition, row.seed, unique))
    return tuple(keys)


def _run_row(row: RunRow, chance_pct: float) -> tuple[Cell, ...]:
    accuracy = Cell(format_pct(None if row.test_error_pct is None else 100 - row.test_error_pct))
    if row.status == "diverged":
        accuracy = Cell(format_pct(chance_pct), tr("counted as a guess"))
    return (
        Cell(row.condition),
        Cell(str(row.seed)),
        Cell(
            tr_word(row.status),
            join_clauses([tr_recorded(reason) for reason in row.reason.split("; ")]),
            row.status,
        ),
        accuracy,
        Cell(DASH if row.train_loss_nats is None else format_number(row.train_loss_nats, 3)),
        Cell(localize_number(f"{row.epochs:,.1f}".removesuffix(".0"))),
        Cell(format_duration(row.train_seconds) if row.train_seconds else DASH),
        Cell(localize_number(f"{row.attempts:,}")),
        Cell(row.run),
    )
