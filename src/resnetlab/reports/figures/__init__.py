"""Figures of a report as SVG, each in a wide and a narrow form, and as PDF."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnetlab.reports.figures import (
    curves,
    depth,
    dots,
    forest,
    grid,
    ladder,
    landscapes,
    scatter,
)
from resnetlab.reports.figures.canvas import (
    COLORS,
    apply_fixed_colors,
    figure_style,
    localize_ticks,
    themed_picture,
    to_standalone_svg,
    to_svg,
)
from resnetlab.reports.plot_data import (
    AblationPlot,
    AnyPlot,
    DepthPlot,
    DotPlot,
    ForestPlot,
    GridPlot,
    LadderPlot,
    LandscapePlot,
    LearningCurves,
    ScatterPlot,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLORS", "Drawing", "draw_pdf", "draw_plot", "themed_picture", "to_standalone_svg"]


@dataclass(frozen=True)
class Drawing:
    """Figure at both widths, as SVG. Its colors are still placeholders."""

    wide: str
    narrow: str


def draw_plot(plot: AnyPlot) -> Drawing:
    """Draw a figure as SVG at both widths."""
    with figure_style():
        wide, narrow = (
            to_svg(_draw_figure(plot, small), f"{plot.key}-{small:d}") for small in (False, True)
        )
    return Drawing(wide, narrow)


def draw_pdf(plot: AnyPlot) -> bytes:
    """Draw the wide figure as PDF with its fonts, in fixed colors; same values, same bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with figure_style(), mpl.rc_context({"pdf.fonttype": 42}):
        figure = _draw_figure(plot, False)
        apply_fixed_colors(figure)
        figure.savefig(
            buffer, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer"))
        )
    return buffer.getvalue()


def _draw_figure(plot: AnyPlot, narrow: bool) -> Figure:
    painters: dict[type, Callable[[Any, bool], Figure]] = {
        DotPlot: dots.draw_dot_plot,
        LearningCurves: curves.draw_learning_curves,
        ForestPlot: forest.draw_forest_plot,
        LadderPlot: ladder.draw_ladder_plot,
        GridPlot: grid.draw_grid_plot,
        DepthPlot: depth.draw_depth_plot,
        AblationPlot: depth.draw_ablations,
        LandscapePlot: landscapes.draw_landscape_plot,
        ScatterPlot: scatter.draw_scatter_plot,
    }
    figure = painters[type(plot)](plot, narrow)
    localize_ticks(figure)
    return figure
