"""Figures of learning curves, with a panel for each condition, on one scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from resnetlab.reports.document import Curves, Line, Panel
from resnetlab.reports.figures.canvas import DASHES, MUTED, NARROW, SERIES, WIDE, new, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def paint(picture: Curves, small: bool) -> Figure:
    """Draw learning curves, with a panel for each condition."""
    from matplotlib.ticker import MaxNLocator

    width = NARROW if small else WIDE
    columns = min(len(picture.panels), 2 if small else 4)
    lines = -(-len(picture.panels) // columns)
    side, gap = 44, 24
    panel_width = (width - side - 6 - gap * (columns - 1)) / columns
    titles = [wrapped(panel.label, int(panel_width / 8.6)) for panel in picture.panels]
    panel_height, head, foot = (150, 26, 44) if small else (190, 26, 44)
    head += 16 * (max(len(title) for title in titles) - 1)
    height = lines * (panel_height + head) + foot
    figure = new(width, height)
    ends = [x for panel in picture.panels for line in panel.runs for x in line.x]
    for index, panel in enumerate(picture.panels):
        row, column = divmod(index, columns)
        x = side + column * (panel_width + gap)
        y = height - head - panel_height - row * (panel_height + head)
        ax = figure.add_axes((x / width, y / height, panel_width / width, panel_height / height))
        ax.set(xlim=(0, max(ends, default=1.0) or 1.0), ylim=(0, picture.top))
        ax.grid(axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(4 if small else 5, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_major_locator(
            MaxNLocator(
                3 if small else 5, steps=[1, 2, 2.5, 5, 10], integer=max(ends, default=1.0) >= 2
            )
        )
        ax.set_title("\n".join(titles[index]), loc="left", pad=6)
        ax.tick_params(labelleft=column == 0, labelbottom=index + columns >= len(picture.panels))
        _panel(ax, panel, picture)
    figure.text(side / width, 6 / height, "epoch", color=MUTED, fontsize=12)
    figure.text(4 / width, 1 - (head - 6) / height, picture.unit, color=MUTED, fontsize=12)
    return figure


def _panel(ax: Axes, panel: Panel, picture: Curves) -> None:
    colour = SERIES[panel.style % len(SERIES)]
    if picture.reference is not None:
        ax.axhline(picture.reference, color=MUTED, lw=1.2, ls=(0, (1.5, 2)), zorder=1)
        ax.text(
            0.98,
            picture.reference,
            picture.reference_label,
            transform=ax.get_yaxis_transform(),
            color=MUTED,
            ha="right",
            va="bottom",
            fontsize=12,
        )
    for other in picture.panels if not picture.left_out else ():
        if other is not panel and other.mean:
            ax.plot(
                other.mean.x,
                _on_scale(other.mean, picture.top),
                color=MUTED,
                lw=1,
                alpha=0.45,
                zorder=1,
            )
    if panel.mean and panel.band:
        within_scale = [high <= picture.top for high in panel.band[1]]
        ax.fill_between(
            panel.mean.x, *panel.band, where=within_scale, color=colour, alpha=0.16, lw=0, zorder=2
        )
    for line in panel.runs:
        _run(ax, line, colour, picture.top)
    if panel.beside:
        ax.plot(
            panel.beside.x,
            _on_scale(panel.beside, picture.top),
            color=colour,
            lw=1.6,
            ls=(0, (4, 2)),
            zorder=4,
        )
    if panel.mean:
        means, dashes = _on_scale(panel.mean, picture.top), DASHES[panel.style % len(DASHES)]
        ax.plot(panel.mean.x, means, color=colour, lw=2.6, ls=dashes, zorder=4)
        cut_x = [x for x, y in zip(panel.mean.x, means, strict=True) if math.isnan(y)]
        ax.plot(
            cut_x,
            [0.95 * picture.top] * len(cut_x),
            color=colour,
            ls="none",
            marker="^",
            ms=7,
            clip_on=False,
            zorder=4,
        )


def _on_scale(line: Line, top: float) -> list[float]:
    """Return the values of a line, with NaN above the scale, so that a very large loss does not
    cross the panel.
    """
    return [y if y <= top else math.nan for y in line.y]


def _run(ax: Axes, line: Line, colour: str, top: float) -> None:
    failed = line.outcome in ("dead", "diverged", "out of memory", "missing")
    style: dict[str, Any] = {"ls": (0, (3, 2))} if failed else {}
    values = _on_scale(line, top)
    ax.plot(
        line.x,
        values,
        color=colour,
        lw=1.1 if failed else 0.9,
        alpha=0.9 if failed else 0.55,
        zorder=3,
        **style,
    )
    end = (line.x[-1], min(line.y[-1], top))
    mark = {"dead": "x", "diverged": "v", "out of memory": "X", "missing": "d"}.get(line.outcome)
    if mark:
        ax.plot(*end, marker=mark, color=colour, ms=7, mfc="none", mew=1.7, clip_on=False, zorder=5)
    elif len(line.x) == 1:
        ax.plot(*end, marker=".", color=colour, zorder=3)
