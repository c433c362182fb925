"""Page of learning curves by class: what more photographs are worth. It contains no photograph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.curation.learning_curves import METHOD
from resnetlab.curation.results import ClassCurve, LearningCurveReport
from resnetlab.files import write_json, write_text
from resnetlab.reports.document import Cell, Column, Detail, Table, number_columns, text_columns
from resnetlab.reports.figures import themed_picture
from resnetlab.reports.figures.canvas import (
    INK,
    NARROW_PX,
    SERIES,
    WIDE_PX,
    figure_style,
    new_figure,
    to_svg,
)
from resnetlab.reports.format import DASH, format_interval, format_number, format_pct
from resnetlab.schema import encode
from resnetlab.stats.intervals import Interval
from resnetlab.translation import tr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_DRAWN_CLASSES = 60
"""Largest number of classes that the figure draws; the table has all of them."""

ROW_PX = 44
"""Height of a class in the figure."""

CAPTION = (
    "Decrease of the error of a class, in percentage points, by {more} more photographs of each "
    "class, with its 95 % interval. The gain of a class without a mark cannot be estimated."
)


def write_learning_curves_page(
    report: LearningCurveReport,
    folder: Path,
    *,
    details: Sequence[Detail] = (),
    made_by: str = "Written by resnetlab.",
) -> Path:
    """Write enough.json and report.html, and return the path of the page.

    Args:
        report: Learning curves.
        folder: Folder of the page.
        details: Details about the model and the data.
        made_by: Sentence on the program.
    """
    write_json(folder / "enough.json", encode(report))
    page = folder / "report.html"
    write_text(page, render_learning_curves_page(report, details, made_by))
    return page


def render_learning_curves_page(
    report: LearningCurveReport, details: Sequence[Detail], made_by: str
) -> str:
    """Return the page as HTML; see `write_learning_curves_page`."""
    from resnetlab.reports.render.html import jinja_environment

    picture, caption = None, CAPTION.format(more=report.more)
    known = [row for row in report.classes if row.gain_points is not None][:MAX_DRAWN_CLASSES]
    if known:
        with figure_style():
            wide, narrow = (
                to_svg(_draw_gains(known, small), f"gains-{small:d}") for small in (False, True)
            )
        picture = themed_picture(wide, narrow, caption)
    return (
        jinja_environment()
        .get_template("learning_curves.html")
        .render(
            report=report,
            picture=picture,
            caption=caption,
            table_of_classes=_table(report),
            details=(
                Detail("Network", report.model),
                Detail("Photographs", f"{report.data}: {report.images:,}"),
                *details,
                Detail("Method", METHOD),
            ),
            notes=[f"{line}." for line in report.notes],
            made_by=made_by,
        )
    )


def _table(report: LearningCurveReport) -> Table:
    columns = (
        *text_columns("Class"),
        *number_columns("Photographs", "Error now"),
        Column(tr("With {count} more", count=report.more)),
        *number_columns("Gain in points"),
    )
    rows = tuple(map(_row, (report.overall, *report.classes)))
    note = (
        "The error is the share of the photographs of a class that are not recognized, by the "
        "fitted curve with all photographs for training."
    )
    return Table("gains", columns, rows, note)


def _row(curve: ClassCurve) -> tuple[Cell, ...]:
    gain = Cell(DASH, "cannot be estimated")
    if curve.gain_points is not None:
        interval = Interval(curve.gain_low_points or 0.0, curve.gain_high_points or 0.0)
        gain = Cell(format_number(curve.gain_points), format_interval(interval))
    return (
        Cell(curve.name),
        Cell(f"{curve.images:,}"),
        Cell(format_pct(curve.error_pct)),
        Cell(format_pct(curve.more_error_pct)),
        gain,
    )


def _draw_gains(curves: Sequence[ClassCurve], narrow: bool) -> Figure:
    """Draw a dot with its interval for each class, below its name; the largest gain first."""
    ordered = sorted(curves, key=lambda row: -(row.gain_points or 0.0))
    width, height = NARROW_PX if narrow else WIDE_PX, ROW_PX * len(ordered) + 74
    figure = new_figure(width, height)
    left, right, bottom, top = 14, 14, 56, 10
    axes = figure.add_axes(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    )
    limit = 44 if narrow else 110
    for position, row in enumerate(ordered):
        label = row.name if len(row.name) <= limit else f"{row.name[: limit - 1]}…"
        axes.text(0, position - 0.28, label, color=INK, fontsize=12, va="center", ha="left")
        interval = [row.gain_low_points or 0.0, row.gain_high_points or 0.0]
        axes.plot(interval, [position + 0.15] * 2, color=SERIES[1], lw=3, solid_capstyle="round")
        axes.plot([row.gain_points or 0.0], [position + 0.15], "o", color=SERIES[1], ms=8)
    axes.set(ylim=(len(ordered) - 0.4, -0.7), xlabel="gain in percentage points", yticks=[])
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    return figure
