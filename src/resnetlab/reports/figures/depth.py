"""Figures of layers by depth and of block ablations, with a panel for each condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resnetlab.reports.document import Depths, Panel, Quantity, Worth, Worths
from resnetlab.reports.figures.canvas import (
    DASHES,
    GRID,
    INK,
    MUTED,
    NARROW,
    SERIES,
    WIDE,
    new,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, GAP, HIGH, FOOT = 50, 22, 128, 40
"""Sizes in pixels: left of the panels, between them, the height of one, and below the last."""


def paint(picture: Depths, small: bool) -> Figure:
    """Draw the quantities below one another, each with its title and a grid of panels."""
    grids = [
        _Grid([panel.label for panel in quantity.panels], small) for quantity in picture.quantities
    ]
    height = sum(grid.height + 24 for grid in grids) + FOOT
    figure = new(_width(small), height)
    top = height
    for number, (quantity, grid) in enumerate(zip(picture.quantities, grids, strict=True)):
        figure.text(4 / _width(small), (top - 16) / height, quantity.title, fontsize=13, color=INK)
        last = number == len(grids) - 1
        for ax, panel in zip(
            grid.axes(figure, top - 24, height, last), quantity.panels, strict=True
        ):
            _quantity_panel(ax, panel, quantity)
        top -= grid.height + 24
    figure.text(SIDE / _width(small), 6 / height, "layer", color=MUTED, fontsize=12)
    return figure


def paint_worths(picture: Worths, small: bool) -> Figure:
    """Draw block ablations as a grid of panels on one scale of accuracy."""
    grid = _Grid([worth.panel.label for worth in picture.worths], small)
    height = grid.height + FOOT + 16
    figure = new(_width(small), height)
    for ax, worth in zip(grid.axes(figure, height - 16, height, True), picture.worths, strict=True):
        _ablation_panel(ax, worth)
    figure.text(SIDE / _width(small), 6 / height, "block switched off", color=MUTED, fontsize=12)
    figure.text(4 / _width(small), 1 - 14 / height, "test accuracy, %", color=MUTED, fontsize=12)
    return figure


def _width(small: bool) -> int:
    return NARROW if small else WIDE


class _Grid:
    """Grid of panels, with as many side by side as fit."""

    def __init__(self, labels: Sequence[str], small: bool) -> None:
        self.count, self.width = len(labels), _width(small)
        self.columns = min(self.count, 2 if small else 4)
        self.lines = -(-self.count // self.columns)
        self.wide = (self.width - SIDE - 8 - GAP * (self.columns - 1)) / self.columns
        self.titles = [wrapped(label, int(self.wide / 8.2)) for label in labels]
        self.head = 10 + 16 * max(len(title) for title in self.titles)
        self.height = self.lines * (HIGH + self.head) + 14

    def axes(self, figure: Figure, top: float, height: float, last: bool) -> list[Axes]:
        """Add the axes of the panels below `top` to a figure of `height`.

        Only the `last` grid has numbers below it.
        """
        from matplotlib.ticker import MaxNLocator

        panels = []
        for index, title in enumerate(self.titles):
            row, column = divmod(index, self.columns)
            x, y = SIDE + column * (self.wide + GAP), top - (row + 1) * (HIGH + self.head)
            ax = figure.add_axes(
                (x / self.width, y / height, self.wide / self.width, HIGH / height)
            )
            ax.grid(axis="y")
            ax.set_title("\n".join(title), loc="left", pad=4, fontsize=12)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.tick_params(
                labelleft=column == 0, labelbottom=last and index + self.columns >= self.count
            )
            panels.append(ax)
        return panels


def _quantity_panel(ax: Axes, panel: Panel, quantity: Quantity) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    ends = [x for other in quantity.panels for line in other.runs for x in line.x]
    ax.set(xlim=(0, max(ends, default=1.0) + 1), ylim=(quantity.low, quantity.high))
    if quantity.log:
        ax.set_yscale("log")
        ax.set_ylim(quantity.low, quantity.high)
        ax.yaxis.set_major_locator(LogLocator(numticks=5))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.tick_params(which="minor", size=0)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4))
    for other in quantity.panels:
        if other is not panel and other.mean:
            ax.plot(other.mean.x, other.mean.y, color=MUTED, lw=1, alpha=0.45, zorder=1)
    colour = SERIES[panel.style % len(SERIES)]
    for line in panel.runs:
        failed: dict[str, Any] = {} if line.outcome == "converged" else {"ls": (0, (3, 2))}
        ax.plot(line.x, line.y, color=colour, lw=0.9, alpha=0.55, zorder=3, **failed)
    if panel.mean:
        dashes = DASHES[panel.style % len(DASHES)]
        ax.plot(panel.mean.x, panel.mean.y, color=colour, lw=2.2, ls=dashes, zorder=4)


def _ablation_panel(ax: Axes, worth: Worth) -> None:
    from matplotlib.ticker import MaxNLocator

    panel, colour = worth.panel, SERIES[worth.panel.style % len(SERIES)]
    count = max((x for line in panel.runs for x in line.x), default=1.0)
    ax.set(xlim=(0.3, count + 0.7), ylim=(0, 102))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    for stage in worth.stages:
        ax.axvline(stage - 0.5, color=GRID, lw=2, zorder=0)
    ax.axhline(worth.chance_pct, color=MUTED, lw=1.2, ls=(0, (1.5, 2)), zorder=1)
    ax.axhline(worth.whole_pct, color=INK, lw=1.2, ls=(0, (4, 2)), zorder=2)
    for line in panel.runs:
        ax.plot(
            line.x,
            line.y,
            color=colour,
            marker=".",
            ms=4,
            alpha=0.5,
            ls="none",
            zorder=3,
            clip_on=False,
        )
    if panel.mean:
        ax.vlines(panel.mean.x, panel.mean.y, worth.whole_pct, color=colour, lw=1.2, zorder=3)
        ax.plot(
            panel.mean.x,
            panel.mean.y,
            color=colour,
            marker="o",
            ms=5,
            ls="none",
            zorder=4,
            clip_on=False,
        )
