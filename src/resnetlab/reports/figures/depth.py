"""Figures of layers by depth and of block ablations, with a panel for each condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resnetlab.reports.figures.canvas import (
    GRID,
    INK,
    LINE_STYLES,
    MUTED,
    NARROW_PX,
    SERIES,
    WIDE_PX,
    mark,
    new_figure,
    wrap_lines,
)
from resnetlab.reports.plot_data import AblationPanel, AblationPlot, DepthPlot, LayerQuantity, Panel
from resnetlab.translation import localize_number, tr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT_PX, GAP_PX, PANEL_HEIGHT_PX, BOTTOM_PX = 50, 22, 128, 40
"""Sizes in pixels: left of the panels, between them, the height of one, and below the last."""


def draw_depth_plot(plot: DepthPlot, narrow: bool) -> Figure:
    """Draw the quantities below one another, each with its title and a grid of panels."""
    grids = [
        _PanelGrid([panel.label for panel in quantity.panels], narrow)
        for quantity in plot.quantities
    ]
    height = sum(grid.height + 24 for grid in grids) + BOTTOM_PX
    figure = new_figure(_width_px(narrow), height)
    top = height
    for number, (quantity, grid) in enumerate(zip(plot.quantities, grids, strict=True)):
        figure.text(
            4 / _width_px(narrow), (top - 16) / height, quantity.title, fontsize=13, color=INK
        )
        last = number == len(grids) - 1
        for ax, panel in zip(
            grid.add_axes(figure, top - 24, height, last), quantity.panels, strict=True
        ):
            mark(ax, set=f"{plot.key}-{number}")
            _draw_quantity_panel(ax, panel, quantity)
        top -= grid.height + 24
    figure.text(LEFT_PX / _width_px(narrow), 6 / height, tr("layer"), color=MUTED, fontsize=12)
    return figure


def draw_ablations(plot: AblationPlot, narrow: bool) -> Figure:
    """Draw block ablations as a grid of panels on one scale of accuracy."""
    grid = _PanelGrid([ablation.panel.label for ablation in plot.ablations], narrow)
    height = grid.height + BOTTOM_PX + 16
    figure = new_figure(_width_px(narrow), height)
    for ax, ablation in zip(
        grid.add_axes(figure, height - 16, height, True), plot.ablations, strict=True
    ):
        _draw_ablation_panel(ax, ablation)
    label = plot.axis_label or tr("block switched off")
    figure.text(LEFT_PX / _width_px(narrow), 6 / height, label, color=MUTED, fontsize=12)
    figure.text(
        4 / _width_px(narrow), 1 - 14 / height, tr("test accuracy, %"), color=MUTED, fontsize=12
    )
    return figure


def _width_px(narrow: bool) -> int:
    return NARROW_PX if narrow else WIDE_PX


class _PanelGrid:
    """Grid of panels, with as many side by side as fit."""

    def __init__(self, labels: Sequence[str], narrow: bool) -> None:
        self.panel_count, self.width = len(labels), _width_px(narrow)
        self.column_count = min(self.panel_count, 2 if narrow else 4)
        self.row_count = -(-self.panel_count // self.column_count)
        self.panel_width = (
            self.width - LEFT_PX - 8 - GAP_PX * (self.column_count - 1)
        ) / self.column_count
        self.titles = [wrap_lines(label, int(self.panel_width / 8.2)) for label in labels]
        self.title_height = 10 + 16 * max(len(title) for title in self.titles)
        self.height = self.row_count * (PANEL_HEIGHT_PX + self.title_height) + 14

    def add_axes(self, figure: Figure, top: float, height: float, is_last: bool) -> list[Axes]:
        """Add the axes of the panels below `top` to a figure of `height`.

        Only the `last` grid has numbers below it.
        """
        from matplotlib.ticker import MaxNLocator

        panels = []
        for index, title in enumerate(self.titles):
            row, column = divmod(index, self.column_count)
            x = LEFT_PX + column * (self.panel_width + GAP_PX)
            y = top - (row + 1) * (PANEL_HEIGHT_PX + self.title_height)
            ax = figure.add_axes(
                (
                    x / self.width,
                    y / height,
                    self.panel_width / self.width,
                    PANEL_HEIGHT_PX / height,
                )
            )
            ax.grid(axis="y")
            ax.set_title("\n".join(title), loc="left", pad=4, fontsize=12)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.tick_params(
                labelleft=column == 0,
                labelbottom=is_last and index + self.column_count >= self.panel_count,
            )
            panels.append(ax)
        return panels


def _draw_quantity_panel(ax: Axes, panel: Panel, quantity: LayerQuantity) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    ends = [x for other in quantity.panels for line in other.runs for x in line.x]
    ax.set(xlim=(0, max(ends, default=1.0) + 1), ylim=(quantity.low, quantity.high))
    if quantity.log_scale:
        ax.set_yscale("log")
        ax.set_ylim(quantity.low, quantity.high)
        ax.yaxis.set_major_locator(LogLocator(numticks=5))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(lambda value, _: localize_number(f"{value:g}"))
        ax.tick_params(which="minor", size=0)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4))
    for other in quantity.panels:
        if other is not panel and other.mean:
            (gray,) = ax.plot(other.mean.x, other.mean.y, color=MUTED, lw=1, alpha=0.45, zorder=1)
            mark(gray, condition=other.label, kind="other")
    color = SERIES[panel.series_index % len(SERIES)]
    for line in panel.runs:
        failed: dict[str, Any] = {} if line.outcome == "trained" else {"ls": (0, (3, 2))}
        (curve,) = ax.plot(line.x, line.y, color=color, lw=0.9, alpha=0.55, zorder=3, **failed)
        mark(curve, condition=panel.label, seed=line.seed, kind="run")
    if panel.mean:
        dashes = LINE_STYLES[panel.series_index % len(LINE_STYLES)]
        (bold,) = ax.plot(panel.mean.x, panel.mean.y, color=color, lw=2.2, ls=dashes, zorder=4)
        mark(bold, condition=panel.label, kind="mean")


def _draw_ablation_panel(ax: Axes, ablation: AblationPanel) -> None:
    from matplotlib.ticker import MaxNLocator

    panel, color = ablation.panel, SERIES[ablation.panel.series_index % len(SERIES)]
    count = max((x for line in panel.runs for x in line.x), default=1.0)
    ax.set(xlim=(0.3, count + 0.7), ylim=(0, 102))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    for stage in ablation.stage_starts:
        ax.axvline(stage - 0.5, color=GRID, lw=2, zorder=0)
    ax.axhline(ablation.chance_pct, color=MUTED, lw=1.2, ls=(0, (1.5, 2)), zorder=1)
    ax.axhline(ablation.full_accuracy_pct, color=INK, lw=1.2, ls=(0, (4, 2)), zorder=2)
    for line in panel.runs:
        ax.plot(
            line.x,
            line.y,
            color=color,
            marker=".",
            ms=4,
            alpha=0.5,
            ls="none",
            zorder=3,
            clip_on=False,
        )
    if panel.mean:
        ax.vlines(
            panel.mean.x, panel.mean.y, ablation.full_accuracy_pct, color=color, lw=1.2, zorder=3
        )
        ax.plot(
            panel.mean.x,
            panel.mean.y,
            color=color,
            marker="o",
            ms=5,
            ls="none",
            zorder=4,
            clip_on=False,
        )
