"""Contour plots of loss landscapes, with equal levels and colors for all networks of a figure."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from resnetlab.inspection.landscape_summary import Grid, NamedLandscape, axis_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_DRAWN_NATS, MOST_DRAWN_NATS = 0.01, 1000.0
"""Losses between which a figure has colors. Those beyond have one color each, and the color bar has
an arrow there.
"""

COLORS = "viridis"
"""Color map, from a low to a high loss."""

MIN_LEVELS = 5
"""Minimum number of contour levels; with fewer round ones the levels have equal ratios."""

PANEL_IN, GAP_IN, LEFT_IN, BAR_IN, TOP_IN, BOTTOM_IN = 2.2, 0.25, 0.6, 1.1, 0.35, 0.3
"""Sizes in inches: of a panel, between panels, and of the margins."""

TITLE_CHARS = 36
"""Maximum number of characters in a line of a title."""

ROUND_LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass(frozen=True)
class Levels:
    """Contour levels of a figure, the same for all of its networks."""

    values: tuple[float, ...]
    """Rising losses in nats."""
    extend: Literal["neither", "min", "max", "both"]
    """Ends of the levels beyond which there are losses."""

    @property
    def logarithms(self) -> list[float]:
        """Logarithms to base 10 of the levels, on which they are drawn."""
        return [math.log10(value) for value in self.values]


def contour_levels(grids: Sequence[Grid]) -> Levels:
    """Return levels for the finite losses of all grids.

    They are round, such as 1, 3 and 10, or have equal ratios if the losses differ little.
    """
    losses = [loss for grid in grids for row in grid for loss in row if loss is not None]
    low, high = min(losses, default=1.0), max(losses, default=10.0)
    least = min(max(low, LEAST_DRAWN_NATS), MOST_DRAWN_NATS / 10)
    most = max(min(high, MOST_DRAWN_NATS), 1.001 * least)
    first = max((level for level in ROUND_LEVELS if level <= least), default=ROUND_LEVELS[0])
    last = min((level for level in ROUND_LEVELS if level >= most), default=ROUND_LEVELS[-1])
    values = tuple(level for level in ROUND_LEVELS if first <= level <= last)
    if len(values) < MIN_LEVELS:
        steps = 2 * MIN_LEVELS - 2
        values = tuple(least * (most / least) ** (step / steps) for step in range(steps + 1))
    is_below, is_above = low < values[0] * (1 - 1e-9), high > values[-1] * (1 + 1e-9)
    if is_below:
        return Levels(values, "both" if is_above else "min")
    return Levels(values, "max" if is_above else "neither")


def draw_landscape(ax: Axes, grid: Grid, levels: Levels, ink: str) -> None:
    """Draw the contours of one plane with axes of one scale.

    A dot marks the center, and an x each grid point whose loss is not finite.

    Args:
        ax: Axes of the panel.
        grid: Losses in nats; None is not finite.
        levels: Levels of the figure.
        ink: Color of the marks of points that are not finite.
    """
    from matplotlib.colors import BoundaryNorm

    axis = axis_values(len(grid))
    drawn = levels.logarithms
    # Losses beyond the levels have the color of their end; those of 0 have no logarithm.
    least = levels.values[0] / 10
    import numpy as np  # here, because a browser imports this package without it

    values = np.array([[np.nan if z is None else max(z, least) for z in row] for row in grid])
    logarithms = np.ma.masked_invalid(np.log10(values))
    if logarithms.count() > 3:
        norm = BoundaryNorm(drawn, 256, extend=levels.extend)
        ax.contourf(axis, axis, logarithms, drawn, cmap=COLORS, norm=norm, extend=levels.extend)
        ax.contour(
            axis,
            axis,
            logarithms,
            drawn,
            colors="black",
            linewidths=0.5,
            linestyles="solid",
            alpha=0.6,
        )
    lost = np.argwhere(logarithms.mask if np.ndim(logarithms.mask) else np.zeros_like(values))
    ax.plot(
        [axis[column] for _, column in lost],
        [axis[row] for row, _ in lost],
        color=ink,
        marker="x",
        ms=4,
        ls="none",
        clip_on=False,
    )
    ax.plot(0, 0, marker="o", ms=5, mfc="white", mec="black")
    ax.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))


def draw_landscapes(runs: Sequence[NamedLandscape]) -> str:
    """Return an SVG with a column for each run and a row for each plane."""
    import matplotlib as mpl

    settings: Any = {
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "svg.hashsalt": "landscapes",
        "svg.fonttype": "none",
    }
    grids = [[plane.losses_nats for plane in run.landscape.planes] for run in runs]
    levels = contour_levels([grid for column in grids for grid in column])
    row_count = max(map(len, grids))
    with mpl.rc_context(settings):
        from matplotlib.figure import Figure

        width = LEFT_IN + (PANEL_IN + GAP_IN) * len(runs) + BAR_IN
        height = TOP_IN + (PANEL_IN + GAP_IN) * row_count + BOTTOM_IN
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(row_count, len(runs), squeeze=False, sharex=True, sharey=True)
        figure.subplots_adjust(
            left=LEFT_IN / width,
            right=1 - (BAR_IN + GAP_IN) / width,
            bottom=BOTTOM_IN / height,
            top=1 - (TOP_IN + GAP_IN) / height,
            wspace=GAP_IN / PANEL_IN,
            hspace=GAP_IN / PANEL_IN,
        )
        for column, (run, planes) in enumerate(zip(runs, grids, strict=True)):
            axes[0][column].set_title("\n".join(_title_lines(run)), fontsize=7, loc="left")
            for row, grid in enumerate(planes):
                draw_landscape(axes[row][column], grid, levels, "black")
        for row in range(row_count):
            axes[row][0].set_ylabel(f"plane {row}")
        bar = figure.add_axes((1 - (BAR_IN - 0.1) / width, 0.2, 0.15 / width, 0.6))
        draw_color_bar(bar, levels, "{:.4g}".format)
        bar.set_ylabel("loss in nats, log scale")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def draw_color_bar(ax: Axes, levels: Levels, format_level: Callable[[float], str]) -> None:
    """Draw the colors of the levels with their losses, vertical if `ax` is high."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm

    box = ax.get_window_extent()
    bar = ax.figure.colorbar(
        ScalarMappable(BoundaryNorm(levels.logarithms, 256, extend=levels.extend), COLORS),
        cax=ax,
        ticks=levels.logarithms,
        orientation="vertical" if box.height > box.width else "horizontal",
    )
    bar.set_ticklabels([format_level(value) for value in levels.values])


def _title_lines(run: NamedLandscape) -> list[str]:
    """Return the title of the network and the name of its run, in lines that fit a panel."""
    name = run.name
    parts = [name[start : start + TITLE_CHARS] for start in range(0, len(name), TITLE_CHARS)]
    return [run.network, *parts]
