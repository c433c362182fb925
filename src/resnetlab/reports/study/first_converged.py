"""Tables of a report on the bias of keeping the first run that converged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnetlab.analysis.first_converged import (
    MAX_TABLES,
    FirstConverged,
    OrderingGroup,
    first_converged,
    ordering_groups,
)
from resnetlab.reports.document import Cell, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    format_number,
    format_pct,
    format_signed,
    join_words,
)
from resnetlab.studies.parsing.questions import catalog_questions
from resnetlab.translation import localize_number, tr, tr_count

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MAX_ORDERINGS = 6
"""Largest number of orderings in a row of the table; a note has the number of the others."""


def tables(analysis: StudyAnalysis) -> tuple[Table, ...]:
    """Return a table by condition and a table of orderings, if a question of the study's sources
    asks for them and its runs are finished.
    """
    questions = catalog_questions(analysis.study.file_name, analysis.study.question)
    kinds = {evidence.kind for question in questions for evidence in question.evidence}
    if "first that converged" not in kinds or not analysis.counts.is_complete:
        return ()
    conditions = first_converged(analysis)
    groups = ordering_groups(conditions)
    by_condition = _condition_table(conditions)
    return (by_condition, _ordering_table(groups)) if groups else (by_condition,)


def _condition_table(conditions: tuple[FirstConverged, ...]) -> Table:
    columns = (
        *text_columns("Condition"),
        *number_columns(
            "Trained",
            "Expected runs until one is trained",
            "Expected accuracy of that run",
            "Mean of all runs",
            "Bias, points",
        ),
    )
    note = tr(
        "Test accuracy. Rule: a network is trained again until a run is trained, and that run "
        "is reported. The runs of a condition are taken in all orders, each with the same "
        "probability, so each trained run is equally likely to be the first one. These values "
        "are exact for these runs. Bias: expected accuracy of the rule minus the mean of all "
        "runs, in which failed runs count."
    )
    rows = tuple(map(_condition_row, conditions))
    return Table("first-converged", columns, rows, note)


def _condition_row(condition: FirstConverged) -> tuple[Cell, ...]:
    trained = tr(
        "{trained} of {finished}",
        trained=len(condition.trained_pct),
        finished=condition.ended,
    )
    expected_runs = tr("never")
    if condition.expected_runs is not None:
        expected_runs = format_number(condition.expected_runs, 2)
    accuracy_range = ""
    if len(condition.trained_pct) > 1:
        accuracy_range = tr(
            "{low} to {high}",
            low=format_number(min(condition.trained_pct)),
            high=format_number(max(condition.trained_pct)),
        )
    return (
        Cell(condition.label),
        Cell(trained),
        Cell(expected_runs),
        Cell(format_pct(condition.expected_pct), accuracy_range),
        Cell(format_pct(condition.all_mean_pct)),
        Cell(DASH if condition.bias is None else format_signed(condition.bias)),
    )


def _ordering_table(groups: tuple[OrderingGroup, ...]) -> Table:
    columns = (
        *text_columns("Networks", "Ordering, the most accurate first"),
        *number_columns("Tables", "Share"),
    )
    rows = tuple(row for group in groups for row in _ordering_rows(group))
    note = tr(
        "Every table that the rule could have given, counted by complete enumeration: one "
        "trained run of each network. All tables of a row group are equally likely. A network "
        "without a trained run is in no table."
    )
    return Table("first-converged-orderings", columns, rows, note)


def _ordering_rows(group: OrderingGroup) -> list[tuple[Cell, ...]]:
    name = Cell(join_words(group.labels), tr_count(group.tables, "table"))
    if not group.orderings:
        text = tr("not enumerated: more than {limit:,} tables", limit=MAX_TABLES)
        return [(name, Cell(text), Cell(DASH), Cell(DASH))]
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            Cell(
                ordering.text,
                tr("ordering of the means of all runs")
                if ordering.text == group.mean_ordering
                else "",
            ),
            Cell(localize_number(f"{ordering.tables:,}")),
            Cell(format_pct(100 * ordering.tables / group.tables)),
        )
        for ordering in group.orderings[:MAX_ORDERINGS]
    ]
    others = group.orderings[MAX_ORDERINGS:]
    if others:
        count = sum(ordering.tables for ordering in others)
        text = tr_count(len(others), "other ordering")
        rows.append(
            (
                name,
                Cell(text),
                Cell(localize_number(f"{count:,}")),
                Cell(format_pct(100 * count / group.tables)),
            )
        )
    return rows
