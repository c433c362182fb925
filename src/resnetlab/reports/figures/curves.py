"""Figures of learning curves, with a panel for each condition, on one scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from resnetlab.reports.display_limits import MAX_LINES, limit_per_group, select_evenly
from resnetlab.reports.figures.canvas import (
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
from resnetlab.reports.plot_data import LearningCurves, Line, Panel
from resnetlab.translation import tr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PAIRS_SUFFIX = "-pairs"
"""End of the key of a figure whose curves are also in the figure without it."""


def draw_learning_curves(plot: LearningCurves, narrow: bool) -> Figure:
    """Draw learning curves, with a panel for each condition."""
    from matplotlib.ticker import MaxNLocator

    width = NARROW_PX if narrow else WIDE_PX
    columns = min(len(plot.panels), 2 if narrow else 4)
    lines = -(-len(plot.panels) // columns)
    side, gap = 44, 24
    panel_width = (width - side - 6 - gap * (columns - 1)) / columns
    titles = [wrap_lines(panel.label, int(panel_width / 8.6)) for panel in plot.panels]
    panel_height, head, foot = (150, 26, 44) if narrow else (190, 26, 44)
    head += 16 * (max(len(title) for title in titles) - 1)
    height = lines * (panel_height + head) + foot
    figure = new_figure(width, height)
    ends = [x for panel in plot.panels for line in _lines(panel) for x in line.x]
    for index, panel in enumerate(plot.panels):
        row, column = divmod(index, columns)
        x = side + column * (panel_width + gap)
        y = height - head - panel_height - row * (panel_height + head)
        ax = figure.add_axes((x / width, y / height, panel_width / width, panel_height / height))
        ax.set(xlim=(0, max(ends, default=1.0) or 1.0), ylim=(plot.y_min, plot.y_max))
        ax.grid(axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(4 if narrow else 5, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_major_locator(
            MaxNLocator(
                3 if narrow else 5, steps=[1, 2, 2.5, 5, 10], integer=max(ends, default=1.0) >= 2
            )
        )
        mark(ax, set=plot.key.removesuffix(PAIRS_SUFFIX))
        title = ax.set_title("\n".join(titles[index]), loc="left", pad=6)
        if not panel.partner:
            mark(title, condition=panel.label)
        ax.tick_params(labelleft=column == 0, labelbottom=index + columns >= len(plot.panels))
        _draw_panel(ax, panel, plot)
    figure.text(side / width, 6 / height, tr("epoch"), color=MUTED, fontsize=12)
    figure.text(4 / width, 1 - (head - 6) / height, plot.unit, color=MUTED, fontsize=12)
    return figure


def drawn_lines(panel: Panel, panels: int) -> tuple[Line, ...]:
    """Return the runs whose curves are drawn in one of so many panels."""
    return select_evenly(panel.runs, limit_per_group(MAX_LINES, panels), lambda line: line.y[-1])


def _lines(panel: Panel) -> list[Line]:
    """Return the lines that the axes of a panel must show."""
    published = [p.published for p in (panel, panel.partner) if p and p.published]
    return [*panel.runs, *published]


def _draw_panel(ax: Axes, panel: Panel, plot: LearningCurves) -> None:
    if plot.uniform_loss is not None:
        ax.axhline(plot.uniform_loss, color=MUTED, lw=1.2, ls=(0, (1.5, 2)), zorder=1)
        ax.text(
            0.98,
            plot.uniform_loss,
            plot.uniform_loss_label,
            transform=ax.get_yaxis_transform(),
            color=MUTED,
            ha="right",
            va="bottom",
            fontsize=12,
        )
    if panel.partner:
        _draw_condition(ax, panel.partner, plot, (0, (4, 2)))
    if plot.has_gray_means and not panel.partner:
        _draw_gray_means(ax, [other for other in plot.panels if other is not panel], plot.y_max)
    dashes = "-" if panel.partner else LINE_STYLES[panel.series_index % len(LINE_STYLES)]
    _draw_condition(ax, panel, plot, dashes)


def _draw_gray_means(ax: Axes, panels: list[Panel], y_max: float) -> None:
    for panel in panels:
        if panel.mean:
            values = _mask_above_scale(panel.mean, y_max)
            (line,) = ax.plot(panel.mean.x, values, color=MUTED, lw=1, alpha=0.45, zorder=1)
            mark(line, condition=panel.label, kind="other")


def _draw_published(ax: Axes, line: Line, color: str, y_max: float, is_labeled: bool) -> None:
    """Draw the mean of published runs, thin and dashed."""
    values = _mask_above_scale(line, y_max)
    ax.plot(line.x, values, color=color, lw=1.3, ls=(0, (5, 2)), zorder=5)
    on_scale = [(x, y) for x, y in zip(line.x, values, strict=True) if not math.isnan(y)]
    if is_labeled and on_scale:
        ax.text(*on_scale[-1], tr("published"), color=color, ha="right", va="top", fontsize=12)


def _draw_condition(ax: Axes, panel: Panel, plot: LearningCurves, dashes: Any) -> None:
    """Draw the runs of a condition, their mean in the style of `dashes`, and its band."""
    color = SERIES[panel.series_index % len(SERIES)]
    label = panel.condition or panel.label
    if panel.published:
        in_pair = any(panel is other.partner or other.partner for other in plot.panels)
        ink = color if in_pair else INK
        is_partner = any(panel is other.partner for other in plot.panels)
        _draw_published(ax, panel.published, ink, plot.y_max, not is_partner)
    if panel.mean and panel.band:
        within_scale = [high <= plot.y_max for high in panel.band[1]]
        band = ax.fill_between(
            panel.mean.x, *panel.band, where=within_scale, color=color, alpha=0.16, lw=0, zorder=2
        )
        mark(band, condition=label)
    for line in drawn_lines(panel, len(plot.panels)):
        _draw_run(ax, line, label, color, plot.y_max)
    if panel.other_split_mean:
        (other,) = ax.plot(
            panel.other_split_mean.x,
            _mask_above_scale(panel.other_split_mean, plot.y_max),
            color=color,
            lw=1.6,
            ls=(0, (4, 2)),
            zorder=4,
        )
        mark(other, condition=label)
    if panel.mean:
        means = _mask_above_scale(panel.mean, plot.y_max)
        (bold,) = ax.plot(panel.mean.x, means, color=color, lw=2.6, ls=dashes, zorder=4)
        mark(bold, condition=label, kind="mean")
        cut_x = [x for x, y in zip(panel.mean.x, means, strict=True) if math.isnan(y)]
        (triangles,) = ax.plot(
            cut_x,
            [0.95 * plot.y_max] * len(cut_x),
            color=color,
            ls="none",
            marker="^",
            ms=7,
            clip_on=False,
            zorder=4,
        )
        mark(triangles, condition=label)


def _mask_above_scale(line: Line, y_max: float) -> list[float]:
    """Return the values of a line, with NaN above the scale."""
    return [y if y <= y_max else math.nan for y in line.y]


def _draw_run(ax: Axes, line: Line, label: str, color: str, y_max: float) -> None:
    failed = line.outcome in ("at chance", "diverged", "out of memory", "missing")
    style: dict[str, Any] = {"ls": (0, (3, 2))} if failed else {}
    values = _mask_above_scale(line, y_max)
    (curve,) = ax.plot(
        line.x,
        values,
        color=color,
        lw=1.1 if failed else 0.9,
        alpha=0.9 if failed else 0.55,
        zorder=3,
        **style,
    )
    mark(curve, condition=label, seed=line.seed, kind="run")
    ends = []
    end = (line.x[-1], min(line.y[-1], y_max))
    symbol = {"at chance": "x", "diverged": "v", "out of memory": "X", "missing": "d"}.get(
        line.outcome
    )
    if symbol:
        form: dict[str, Any] = {"ms": 7, "mfc": "none", "mew": 1.7, "clip_on": False, "zorder": 5}
        ends = ax.plot(*end, marker=symbol, color=color, **form)
    elif len(line.x) == 1:
        ends = ax.plot(*end, marker=".", color=color, zorder=3)
    for one in ends:
        mark(one, condition=label, seed=line.seed)
