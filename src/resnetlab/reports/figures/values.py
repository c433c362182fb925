"""Values of figures as CSV files, if neither results.csv nor curves.csv has them.

These are effects of claims and published numbers, for example.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from resnetlab.reports.document import (
    AnyPlot,
    DotPlot,
    ForestPlot,
    ForestRow,
    HeatMap,
    LadderPlot,
    ReferenceEffect,
    RungRow,
    ScatterPlot,
)

CsvValue = str | float | None


def plot_csv(plot: AnyPlot) -> str:
    """Return the values of a figure as CSV, or empty text if other files of the report have all of
    them.
    """
    match plot:
        case ForestPlot():
            names = [
                "claim",
                "unit",
                "region_low",
                "region_high",
                "effect",
                "low",
                "high",
                "verdict",
                "training_share_low",
                "training_share_high",
                "runs",
                "failed",
                "published",
                "source",
            ]
            return csv_text(
                names,
                (
                    _effect_values(row, known)
                    for row in plot.rows
                    for known in row.reference_effects or (None,)
                ),
            )
        case LadderPlot():
            names = [
                "rung",
                "parent",
                "side",
                "test_pct",
                "low_pct",
                "high_pct",
                "train_pct",
                "adds",
            ]
            return csv_text(names, (_rung_values(row, plot.rows) for row in plot.rows))
        case DotPlot() if any(row.reference_marks for row in plot.rows):
            names = [
                "condition",
                "mean_pct",
                "low_pct",
                "high_pct",
                "published_pct",
                "predicted_low",
                "predicted_high",
            ]
            return csv_text(
                names,
                (
                    [
                        row.label,
                        row.mean_pct,
                        row.low_pct,
                        row.high_pct,
                        mark.value_pct,
                        mark.low_pct,
                        mark.high_pct,
                    ]
                    for row in plot.rows
                    for mark in row.reference_marks
                ),
            )
        case HeatMap():
            names = [plot.row_axis, plot.column_axis, "mean_pct", "low_pct", "high_pct"]
            return csv_text(
                [*names, "failed", "runs"],
                (
                    [c.row, c.column, c.mean_pct, c.low_pct, c.high_pct, c.failed, c.runs]
                    for c in plot.cells
                ),
            )
        case ScatterPlot():
            names = ["network", plot.unit, "accuracy_pct", "low_pct", "high_pct", "published"]
            published = "yes" if plot.published else "no"
            return csv_text(
                names,
                (
                    [point.label, point.x, point.y_pct, point.low_pct, point.high_pct, published]
                    for point in plot.points
                ),
            )
        case _:
            return ""


def _rung_values(row: RungRow, rows: Sequence[RungRow]) -> list[CsvValue]:
    parent = None if row.parent is None else rows[row.parent].label
    values: list[CsvValue] = [row.mean_pct, row.low_pct, row.high_pct, row.train_pct, row.texts[1]]
    return [row.label, parent, "yes" if row.is_side_rung else "no", *values]


def _effect_values(row: ForestRow, reference_effect: ReferenceEffect | None) -> list[CsvValue]:
    values: list[CsvValue] = [
        row.label,
        row.unit,
        *row.region,
        row.effect,
        row.low,
        row.high,
        row.verdict,
        *row.training_share,
        *row.texts[1:],
    ]
    return (
        [*values, reference_effect.effect, "; ".join(reference_effect.sources)]
        if reference_effect
        else [*values, None, None]
    )


def csv_text(names: Sequence[str], rows: Iterable[Sequence[CsvValue]]) -> str:
    """Format a table as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([None if _is_nan(value) else value for value in row] for row in rows)
    return buffer.getvalue()


def _is_nan(value: CsvValue) -> bool:
    return isinstance(value, float) and math.isnan(value)
