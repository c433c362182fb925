"""Scatter plot of accuracy against cost: a mark for each network, with its interval and name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnetlab.reports.document import Scatter
from resnetlab.reports.figures.canvas import (
    GRID,
    INK,
    MARKS,
    MUTED,
    NARROW,
    PUBLISHED,
    SERIES,
    WIDE,
    new,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIGH, FOOT, SIDE = 320, 52, 46
"""Sizes in pixels: the height of the axes, below them and left of them."""


def paint(picture: Scatter, small: bool) -> Figure:
    """Draw the plot with a logarithmic cost axis.

    On a phone the marks have numbers, and the names are below.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    width = NARROW if small else WIDE
    names = (
        [f"{number} {spot.label}" for number, spot in enumerate(picture.spots, 1)] if small else []
    )
    foot = FOOT + 17 * len(names)
    height = HIGH + foot + 14
    figure = new(width, height)
    ax = figure.add_axes((SIDE / width, foot / height, 1 - (SIDE + 20) / width, HIGH / height))
    costs = [spot.x for spot in picture.spots]
    ax.set(
        xscale="log",
        xlim=(min(costs) / 1.35, max(costs) * 1.35),
        ylim=(picture.low_pct, picture.high_pct),
    )
    middle = (min(costs) * max(costs)) ** 0.5
    ax.grid(axis="both")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(which="minor", size=0)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    for number, spot in enumerate(picture.spots, 1):
        form: dict[str, Any] = PUBLISHED if picture.published else {"ls": "none", "ms": 8}
        if not picture.published:
            colour = SERIES[spot.style % len(SERIES)]
            form = form | {"marker": MARKS[spot.style % len(MARKS)], "mfc": colour, "mec": colour}
        if spot.low_pct is not None and spot.high_pct is not None:
            ends = [max(picture.low_pct, spot.low_pct), min(picture.high_pct, spot.high_pct)]
            ax.plot([spot.x] * 2, ends, color=INK, lw=1.6, zorder=3)
        ax.plot(spot.x, spot.y_pct, zorder=4, **form)
        label = str(number) if small else spot.label
        away, side = (
            (9, "left") if small or spot.x <= middle else (-9, "right")
        )  # so names stay within the figure
        ax.annotate(
            label,
            (spot.x, spot.y_pct),
            (away, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=12,
        )
    ax.spines["bottom"].set_color(GRID)
    figure.text(SIDE / width, (foot - 34) / height, picture.unit, color=MUTED, fontsize=12)
    for number, name in enumerate(names, 1):
        figure.text(6 / width, (foot - 34 - 17 * number) / height, name, color=INK, fontsize=12)
    return figure


def short(value: float) -> str:
    """Format a cost: `25 M`, `1.2 G`, `40`."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
