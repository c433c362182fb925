"""Figure of published numbers by the depth of their networks."""

from __future__ import annotations

from collections.abc import Sequence

from resnetlab.reports.figures.canvas import (
    LINE_STYLES,
    MARKERS,
    SERIES,
    WIDE_PX,
    figure_style,
    new_figure,
    to_standalone_svg,
    to_svg,
)
from resnetlab.reports.published.depths import DepthSeries

PANEL_HEIGHT_PX, LEGEND_ROW_PX = 300, 18


def draw_reference_depths(series: Sequence[DepthSeries], title: str) -> str:
    """Return an SVG: a panel for each quantity, with its values by depth on a logarithmic axis."""
    quantities = list(dict.fromkeys(one.quantity for one in series))
    legend = LEGEND_ROW_PX * max(sum(one.quantity == name for one in series) for name in quantities)
    height = len(quantities) * (PANEL_HEIGHT_PX + legend) + 40
    with figure_style():
        figure = new_figure(WIDE_PX, height)
        figure.suptitle(title, x=0.01, ha="left", fontsize=13)
        for number, quantity in enumerate(quantities):
            ax = figure.add_axes(
                (
                    0.08,
                    1 - (40 + (number + 1) * (PANEL_HEIGHT_PX + legend) - 50) / height,
                    0.88,
                    (PANEL_HEIGHT_PX - 60) / height,
                )
            )
            in_panel = [one for one in series if one.quantity == quantity]
            for index, one in enumerate(in_panel):
                ax.plot(
                    [depth for depth, _ in one.points],
                    [value for _, value in one.points],
                    color=SERIES[index % len(SERIES)],
                    ls=LINE_STYLES[index % len(LINE_STYLES)],
                    marker=MARKERS[index % len(MARKERS)],
                    label=one.label,
                )
            depths = sorted({depth for one in in_panel for depth, _ in one.points})
            ax.set_xscale("log")
            ax.set_xticks(depths, [str(depth) for depth in depths])
            ax.set_xticks([], minor=True)
            ax.set_xlabel("weighted layers")
            ax.set_ylabel(quantity)
            ax.grid(axis="y")
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=11)
        return to_standalone_svg(to_svg(figure, "reference-depth"))
