"""Section of a report on a grid of two axes with numbers: a grid plot and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnetlab.analysis.grid import ConditionGrid, find_grid
from resnetlab.reports.document import Cell, Column, GridSection, Table
from resnetlab.reports.format import DASH, decimals, format_interval, format_pct, join_clauses
from resnetlab.reports.plot_data import GridCell, GridPlot
from resnetlab.reports.study.axis_names import axis_names
from resnetlab.stats.intervals import Interval
from resnetlab.translation import LANGUAGES, current_language, localize_number, tr

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def grid_section(analysis: StudyAnalysis) -> GridSection | None:
    """Return the grid plot and the table of a study with exactly two axes of numbers, else None."""
    axes = find_grid(analysis)
    if axes is None:
        return None
    index = LANGUAGES.index(current_language())
    names = [axis_names(axis)[index] for axis in (axes.row_axis, axes.column_axis)]
    cells = tuple(
        _cell(analysis, axes, row, column)
        for row in axes.rows
        for column in axes.columns
        if (row, column) in axes.labels
    )
    measured_cells = [cell for cell in cells if cell.mean_pct is not None]
    caption = tr(
        "Mean test accuracy of the trained runs in percent, by {row} and {column}. The "
        "frame marks the highest mean, selected after the runs. Failed runs were at chance or "
        "diverged; the mean leaves them out.",
        row=names[0],
        column=names[1],
    )
    described = [
        tr(
            "{row} {row_value:g}, {column} {column_value:g}: {accuracy:.1f} %",
            row=names[0],
            row_value=cell.row,
            column=names[1],
            column_value=cell.column,
            accuracy=cell.mean_pct,
        )
        for cell in measured_cells
    ]
    alt = tr(
        "Accuracy by {row} and {column}. {cells}.",
        row=names[0],
        column=names[1],
        cells=join_clauses(described) or tr("No value yet"),
    )
    title = tr("Accuracy by {row} and {column}", row=names[0], column=names[1])
    plot = GridPlot("grid", title, caption, alt, names[0], names[1], axes.rows, axes.columns, cells)
    return GridSection(_table(plot), plot)


def _cell(analysis: StudyAnalysis, axes: ConditionGrid, row: float, column: float) -> GridCell:
    label = axes.labels[row, column]
    summary = analysis.summaries[label]
    low, high = summary.interval_pct or (None, None)
    counts = summary.counts
    failed = counts.at_chance + counts.diverged
    return GridCell(row, column, summary.mean_pct, low, high, failed, counts.ended, label)


def _table(plot: GridPlot) -> Table:
    cells = {(cell.row, cell.column): cell for cell in plot.cells}
    columns = (
        Column(plot.row_axis.capitalize()),
        *(Column(f"{plot.column_axis} {localize_number(f'{x:g}')}") for x in plot.columns),
    )
    rows = tuple(
        (
            Cell(localize_number(f"{row:g}")),
            *(_table_cell(cells.get((row, column))) for column in plot.columns),
        )
        for row in plot.rows
    )
    note = tr(
        "Mean test accuracy of the trained runs with its 95 % interval (Student's t), and the "
        "number of failed runs. No claim compares these cells."
    )
    return Table("grid", columns, rows, note, "scroll")


def _table_cell(cell: GridCell | None) -> Cell:
    if cell is None or cell.mean_pct is None:
        return Cell(
            DASH,
            tr("{failed} of {runs} failed", failed=cell.failed, runs=cell.runs)
            if cell and cell.runs
            else "",
        )
    interval = (
        None
        if cell.low_pct is None or cell.high_pct is None
        else Interval(cell.low_pct, cell.high_pct)
    )
    digits = decimals(interval)
    notes = [format_interval(interval, digits)] if interval else []
    notes += (
        [tr("{failed} of {runs} failed", failed=cell.failed, runs=cell.runs)] if cell.failed else []
    )
    return Cell(format_pct(cell.mean_pct, digits), join_clauses(notes))
