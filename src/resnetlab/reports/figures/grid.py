"""Heat map of accuracy on a grid of two axes, such as learning rate by batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnetlab.reports.figures.canvas import (
    INK,
    MUTED,
    NARROW_PX,
    SERIES,
    WIDE_PX,
    format_exact,
    mark,
    new_figure,
)
from resnetlab.reports.plot_data import GridCell, GridPlot
from resnetlab.translation import localize_number, tr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_grid_plot(plot: GridPlot, narrow: bool) -> Figure:
    """Draw a cell for each row and column: its mean, and its number of failed runs below."""
    width, foot, cell_height = NARROW_PX if narrow else WIDE_PX, 62, 58
    height = cell_height * len(plot.rows) + foot + 12
    figure = new_figure(width, height)
    left = 66 / width
    ax = figure.add_axes(
        (left, foot / height, 1 - left - 10 / width, cell_height * len(plot.rows) / height)
    )
    values = [cell.mean_pct for cell in plot.cells if cell.mean_pct is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    for cell in plot.cells:
        _draw_cell(ax, plot, cell, low, high, narrow)
    ax.set(
        xlim=(-0.5, len(plot.columns) - 0.5),
        ylim=(-0.5, len(plot.rows) - 0.5),
        xlabel=plot.column_axis,
        ylabel=plot.row_axis,
    )
    ax.set_xticks(range(len(plot.columns)), [localize_number(f"{x:g}") for x in plot.columns])
    ax.set_yticks(range(len(plot.rows)), [localize_number(f"{y:g}") for y in plot.rows])
    return figure


def _draw_cell(
    ax: Axes, plot: GridPlot, cell: GridCell, low: float, high: float, narrow: bool
) -> None:
    from matplotlib.patches import Rectangle

    x, y = plot.columns.index(cell.column), plot.rows.index(cell.row)
    best = cell.mean_pct is not None and cell.mean_pct == high
    share = 0.0 if cell.mean_pct is None else (cell.mean_pct - low) / max(1e-9, high - low)
    patch = ax.add_patch(
        Rectangle(
            (x - 0.48, y - 0.48),
            0.96,
            0.96,
            facecolor="none" if cell.mean_pct is None else SERIES[1],
            edgecolor=INK if best else "none",
            linewidth=2.4 if best else 0,
            alpha=None if cell.mean_pct is None else 0.08 + 0.5 * share,
        )
    )
    value = "–" if cell.mean_pct is None else format_exact(cell.mean_pct, "%")
    tip = tr("{condition}, mean: {value}", condition=cell.condition, value=value)
    mark(patch, condition=cell.condition, tip=tip)
    text = "–" if cell.mean_pct is None else localize_number(f"{cell.mean_pct:.1f}")
    ax.text(x, y + 0.12, text, ha="center", va="center", color=INK, fontsize=13)
    if cell.failed:
        failed = f"{cell.failed}/{cell.runs}"
        if not narrow:
            failed = tr("{failed} of {runs} failed", failed=cell.failed, runs=cell.runs)
        ax.text(x, y - 0.24, failed, ha="center", va="center", color=MUTED, fontsize=11)
