"""Scatter plot of accuracy against cost: a mark for each network, with its interval and name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnetlab.reports.figures.canvas import (
    GRID,
    INK,
    MARKERS,
    MUTED,
    NARROW_PX,
    REFERENCE_STYLE,
    SERIES,
    WIDE_PX,
    format_exact,
    format_tick_pct,
    mark,
    new_figure,
)
from resnetlab.reports.plot_data import ScatterPlot, ScatterPoint
from resnetlab.translation import localize_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES_HEIGHT_PX, BOTTOM_PX, LEFT_PX = 320, 52, 46
"""Sizes in pixels: the height of the axes, below them and left of them."""


def draw_scatter_plot(plot: ScatterPlot, narrow: bool) -> Figure:
    """Draw the plot with a logarithmic cost axis; on a phone marks have numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    width = NARROW_PX if narrow else WIDE_PX
    numbered = [f"{number} {point.label}" for number, point in enumerate(plot.points, 1)]
    names = numbered if narrow else []
    foot = BOTTOM_PX + 17 * len(names)
    height = AXES_HEIGHT_PX + foot + 14
    figure = new_figure(width, height)
    ax = figure.add_axes(
        (LEFT_PX / width, foot / height, 1 - (LEFT_PX + 20) / width, AXES_HEIGHT_PX / height)
    )
    costs = [point.x for point in plot.points]
    ax.set(
        xscale="log",
        xlim=(min(costs) / 1.35, max(costs) * 1.35),
        ylim=(plot.low_pct, plot.high_pct),
    )
    ax.grid(axis="both")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_cost(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(which="minor", size=0)
    ax.yaxis.set_major_formatter(format_tick_pct)
    middle = (min(costs) * max(costs)) ** 0.5
    for number, point in enumerate(plot.points, 1):
        _draw_point(ax, plot, point)
        # Names are drawn on the side where they lie within the figure.
        away, side = (9, "left") if narrow or point.x <= middle else (-9, "right")
        label = str(number) if narrow else point.label
        form: dict[str, Any] = {"ha": side, "va": "center", "fontsize": 12}
        xy = (point.x, point.y_pct)
        note = ax.annotate(label, xy, (away, 0), textcoords="offset points", **form)
        mark(note, condition=None if plot.published else point.label)
    ax.spines["bottom"].set_color(GRID)
    figure.text(LEFT_PX / width, (foot - 34) / height, plot.unit, color=MUTED, fontsize=12)
    for number, name in enumerate(names, 1):
        figure.text(6 / width, (foot - 34 - 17 * number) / height, name, color=INK, fontsize=12)
    return figure


def _draw_point(ax: Axes, plot: ScatterPlot, point: ScatterPoint) -> None:
    if point.low_pct is not None and point.high_pct is not None:
        ends = [max(plot.low_pct, point.low_pct), min(plot.high_pct, point.high_pct)]
        ax.plot([point.x] * 2, ends, color=INK, lw=1.6, zorder=3)
    color = SERIES[point.series_index % len(SERIES)]
    marker = MARKERS[point.series_index % len(MARKERS)]
    run_style: dict[str, Any] = {
        "ls": "none",
        "ms": 8,
        "marker": marker,
        "mfc": color,
        "mec": color,
    }
    style = REFERENCE_STYLE if plot.published else run_style
    (symbol,) = ax.plot(point.x, point.y_pct, zorder=4, **style)
    tip = f"{point.label}: {format_exact(point.x, plot.unit)}, {format_exact(point.y_pct, '%')}"
    mark(symbol, condition=None if plot.published else point.label, tip=tip)


def format_cost(value: float) -> str:
    """Format a cost: `25 M`, `1.2 G`, `40`."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return localize_number(f"{value / size:g}{unit}")
    return localize_number(f"{value:g}")
