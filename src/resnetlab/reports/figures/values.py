"""Values of figures as CSV files, if neither results.csv nor curves.csv has them.

These are effects of claims and published numbers, for example.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from resnetlab.files import atomic_write
from resnetlab.reports.plot_data import (
    AnyPlot,
    DotPlot,
    ForestPlot,
    GridPlot,
    LadderPlot,
    RungRow,
    ScatterPlot,
)

CsvValue = str | float | None


_CLAIM_COLUMNS = (
    "claim unit region_low region_high effect low high verdict training_share_low "
    "training_share_high runs failed published source"
)
_RUNG_COLUMNS = "rung parent side test_pct low_pct high_pct train_pct difference"
_MARK_COLUMNS = "condition mean_pct low_pct high_pct published_pct predicted_low predicted_high"


def plot_csv(plot: AnyPlot) -> str:
    """Return the values of a figure as CSV; empty if other files of the report have them."""
    match plot:
        case ForestPlot():
            return csv_text(_CLAIM_COLUMNS.split(), _claim_values(plot))
        case LadderPlot():
            return csv_text(_RUNG_COLUMNS.split(), _rung_values(plot.rows))
        case DotPlot() if any(row.reference_marks for row in plot.rows):
            return csv_text(_MARK_COLUMNS.split(), _mark_values(plot))
        case GridPlot():
            names = [plot.row_axis, plot.column_axis, "mean_pct", "low_pct", "high_pct"]
            values = (
                [c.row, c.column, c.mean_pct, c.low_pct, c.high_pct, c.failed, c.runs]
                for c in plot.cells
            )
            return csv_text([*names, "failed", "runs"], values)
        case ScatterPlot():
            names = ["network", plot.unit, "accuracy_pct", "low_pct", "high_pct", "published"]
            published = "yes" if plot.published else "no"
            return csv_text(
                names,
                ((p.label, p.x, p.y_pct, p.low_pct, p.high_pct, published) for p in plot.points),
            )
        case _:
            return ""


def _claim_values(plot: ForestPlot) -> Iterator[Sequence[CsvValue]]:
    """Yield a row for each published effect of a claim, and one for a claim without any."""
    for row in plot.rows:
        effect = (row.label, row.unit, *row.region, row.effect, row.low, row.high, row.verdict)
        values = (*effect, *row.training_share, *row.texts[1:])
        for known in row.reference_effects:
            yield (*values, known.effect, "; ".join(known.sources))
        if not row.reference_effects:
            yield (*values, None, None)


def _rung_values(rows: Sequence[RungRow]) -> Iterator[Sequence[CsvValue]]:
    for row in rows:
        parent = None if row.parent is None else rows[row.parent].label
        side = "yes" if row.is_side_rung else "no"
        reached = (row.mean_pct, row.low_pct, row.high_pct, row.train_pct)
        yield (row.label, parent, side, *reached, row.texts[1])


def _mark_values(plot: DotPlot) -> Iterator[Sequence[CsvValue]]:
    for row in plot.rows:
        for mark in row.reference_marks:
            reached = (row.label, row.mean_pct, row.low_pct, row.high_pct)
            yield (*reached, mark.value_pct, mark.low_pct, mark.high_pct)


def write_path_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[CsvValue]]) -> None:
    """Write a table with paths as CSV. Bytes of a path that are not UTF-8 are written unchanged."""
    with atomic_write(path, "wb") as file:
        file.write(csv_text(names, rows).encode(errors="surrogateescape"))


def csv_text(names: Sequence[str], rows: Iterable[Sequence[CsvValue]]) -> str:
    """Format a table as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in rows:  # NaN is written as an empty cell, as None is
        writer.writerow([None if value != value else value for value in row])
    return buffer.getvalue()
