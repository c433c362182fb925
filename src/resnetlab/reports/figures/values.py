"""Values of figures as CSV files, if neither results.csv nor curves.csv has them.

These are effects of claims and published numbers, for example.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from resnetlab.reports.document import (
    Dots,
    Figure,
    Forest,
    ForestRow,
    Known,
    Scatter,
    StepRow,
    Steps,
)

Value = str | float | None


def table(picture: Figure) -> str:
    """Return the values of a figure as CSV, or empty text if other files of the report have all of
    them.
    """
    match picture:
        case Forest():
            names = [
                "claim",
                "unit",
                "region_low",
                "region_high",
                "effect",
                "low",
                "high",
                "verdict",
                "runs",
                "failed",
                "published",
                "source",
            ]
            return csv_text(
                names,
                (_effect(row, known) for row in picture.rows for known in row.published or (None,)),
            )
        case Steps():
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
            return csv_text(names, (_step(row, picture.rows) for row in picture.rows))
        case Dots() if any(row.published for row in picture.rows):
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
                    for row in picture.rows
                    for mark in row.published
                ),
            )
        case Scatter():
            names = ["network", picture.unit, "accuracy_pct", "low_pct", "high_pct", "published"]
            published = "yes" if picture.published else "no"
            return csv_text(
                names,
                (
                    [spot.label, spot.x, spot.y_pct, spot.low_pct, spot.high_pct, published]
                    for spot in picture.spots
                ),
            )
        case _:
            return ""


def _step(row: StepRow, rows: Sequence[StepRow]) -> list[Value]:
    parent = None if row.parent is None else rows[row.parent].label
    values: list[Value] = [row.mean_pct, row.low_pct, row.high_pct, row.train_pct, row.said[1]]
    return [row.label, parent, "yes" if row.side else "no", *values]


def _effect(row: ForestRow, known: Known | None) -> list[Value]:
    values: list[Value] = [
        row.label,
        row.unit,
        *row.region,
        row.d,
        row.low,
        row.high,
        row.word,
        *row.said[1:],
    ]
    return [*values, known.d, "; ".join(known.sources)] if known else [*values, None, None]


def csv_text(names: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    """Format a table as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([None if _is_nan(value) else value for value in row] for row in rows)
    return buffer.getvalue()


def _is_nan(value: Value) -> bool:
    return isinstance(value, float) and math.isnan(value)
