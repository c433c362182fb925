"""Contour plots of loss landscapes, with a panel for each condition, on one scale of colors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnetlab.inspection.landscape_figure import contour_levels, draw_color_bar, draw_landscape
from resnetlab.reports.figures.canvas import INK, MUTED, NARROW_PX, WIDE_PX, new_figure, wrap_lines
from resnetlab.reports.plot_data import LandscapePlot
from resnetlab.translation import localize_number, tr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT_PX, GAP_PX, BOTTOM_PX = 34, 24, 92
"""Sizes in pixels: left of the panels, between them, and below the last."""


def draw_landscape_plot(plot: LandscapePlot, narrow: bool) -> Figure:
    """Draw the landscapes as a grid of square panels, and the colors of the losses below them."""
    width = NARROW_PX if narrow else WIDE_PX
    columns = min(len(plot.panels), 2 if narrow else 4)
    side = min(220.0, (width - LEFT_PX - 8 - GAP_PX * (columns - 1)) / columns)
    titles = [wrap_lines(panel.label, int(side / 8.2)) for panel in plot.panels]
    title_height = 10 + 16 * max(map(len, titles))
    row_count = -(-len(titles) // columns)
    height = row_count * (side + title_height + 18) + BOTTOM_PX
    figure = new_figure(width, height)
    levels = contour_levels([panel.losses_nats for panel in plot.panels])
    for index, (panel, title) in enumerate(zip(plot.panels, titles, strict=True)):
        row, column = divmod(index, columns)
        x = LEFT_PX + column * (side + GAP_PX)
        y = height - (row + 1) * (side + title_height + 18) + 18
        ax = figure.add_axes((x / width, y / height, side / width, side / height))
        draw_landscape(ax, panel.losses_nats, levels, INK)
        ax.set_title("\n".join(title), loc="left", pad=4, fontsize=12)
        ax.tick_params(labelleft=column == 0)
    bar_width = min(420, width - LEFT_PX - 24)
    bar = figure.add_axes((LEFT_PX / width, 44 / height, bar_width / width, 12 / height))
    draw_color_bar(bar, levels, lambda value: localize_number(f"{value:.4g}"))
    bar.tick_params(labelsize=11 if not narrow else 9)
    figure.text(
        LEFT_PX / width, 6 / height, tr("loss in nats, log scale"), color=MUTED, fontsize=12
    )
    return figure
