"""Figure of a ladder: a row for each rung, linked to its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnetlab.analysis.analyze import MAIN_RUNG_SERIES, SIDE_RUNG_SERIES
from resnetlab.reports.figures.canvas import (
    CARD,
    GRID,
    INK,
    MUTED,
    NARROW_PX,
    SERIES,
    WIDE_PX,
    draw_legend,
    draw_segment,
    format_exact,
    format_percent_axis,
    mark,
    new_figure,
    wrap_lines,
)
from resnetlab.reports.plot_data import LadderPlot, RungRow
from resnetlab.translation import tr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAIN_COLOR, SIDE_COLOR = SERIES[MAIN_RUNG_SERIES], SERIES[SIDE_RUNG_SERIES]


def draw_ladder_plot(plot: LadderPlot, narrow: bool) -> Figure:
    """Draw main rungs as dots and side rungs as squares beside the line."""
    rows, width = plot.rows, NARROW_PX if narrow else WIDE_PX
    row_height, foot = (66, 58) if narrow else (44, 58)
    height = row_height * len(rows) + foot + 4
    figure = new_figure(width, height)
    left, right = (10 / width, 1 - 14 / width) if narrow else (232 / width, 1 - 222 / width)
    ax = figure.add_axes((left, foot / height, right - left, row_height * len(rows) / height))
    ax.set(xlim=(plot.low_pct, plot.high_pct), ylim=(len(rows) - 0.5, -0.5), yticks=[])
    format_percent_axis(ax, narrow)
    offset = (row_height - 16) / row_height - 0.5 if narrow else 0.0
    for index in range(len(rows)):
        _draw_parent_lines(ax, rows, index, offset)
    for index, row in enumerate(rows):
        ax.axhline(index + 0.5, color=GRID, lw=1, zorder=0)
        _draw_row(ax, row, rows, index + offset)
        _draw_labels(ax, row, index, narrow, row_height)
    handles = _legend(rows)
    columns = 2 if narrow else len(handles)
    draw_legend(figure, handles, 4 / width if narrow else left, columns, 1.2)
    return figure


def _draw_parent_lines(ax: Axes, rows: tuple[RungRow, ...], index: int, offset: float) -> None:
    """Draw lines from a rung to its children: solid to the next rung, dotted to side rungs."""
    mean = rows[index].mean_pct
    children = [n for n, row in enumerate(rows) if row.parent == index and row.mean_pct is not None]
    if mean is None or not children:
        return
    main = [number for number in children if not rows[number].is_side_rung]
    dotted: dict[str, Any] = {"color": SIDE_COLOR, "lw": 1.2, "ls": (0, (1.5, 2)), "zorder": 1}
    ax.plot([mean] * 2, [index + offset, max(children) + offset], **dotted)
    if main:
        ax.plot([mean] * 2, [index + offset, main[0] + offset], color=MAIN_COLOR, lw=1.8, zorder=2)


def _draw_row(ax: Axes, row: RungRow, rows: tuple[RungRow, ...], y: float) -> None:
    color = SIDE_COLOR if row.is_side_rung else MAIN_COLOR
    if row.mean_pct is None:
        return
    start = rows[row.parent].mean_pct if row.parent is not None else None
    tip = tr("{condition}, mean: {value}", condition=row.label, value=" ".join(row.texts).strip())
    lines = []
    if start is not None:
        lines.append(draw_segment(ax, [start, row.mean_pct], [y] * 2, color, 9, 2, alpha=0.3))
    low, high = ax.get_xlim()
    if row.low_pct is not None and row.high_pct is not None:
        ends = [max(low, row.low_pct), min(high, row.high_pct)]
        lines.append(draw_segment(ax, ends, [y] * 2, INK, 1.8, 4))
        arrow: dict[str, Any] = {"color": INK, "ms": 6, "ls": "none", "clip_on": False, "zorder": 4}
        if row.low_pct < low:
            ax.plot(low, y, marker="<", **arrow)
        if row.high_pct > high:
            ax.plot(high, y, marker=">", **arrow)
    form: dict[str, Any] = {"ls": "none", "zorder": 5, "clip_on": False}
    marker, face = ("s", CARD) if row.is_side_rung else ("o", color)
    lines += ax.plot(row.mean_pct, y, marker=marker, ms=8, mfc=face, mec=color, mew=1.8, **form)
    for line in lines:
        mark(line, condition=row.label, tip=tip)
    if row.train_pct is not None:
        (triangle,) = ax.plot(
            row.train_pct, y, marker="^", ms=6.5, mfc="none", mec=MUTED, mew=1.2, **form
        )
        value = format_exact(row.train_pct, "%")
        tip = tr("{condition}, train images: {value}", condition=row.label, value=value)
        mark(triangle, condition=row.label, tip=tip)


def _draw_labels(ax: Axes, row: RungRow, index: int, narrow: bool, height: int) -> None:
    def y(pixels: float) -> float:
        return index - 0.5 + pixels / height

    text: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
    weight = "normal" if row.is_side_rung else "bold"
    reached, gained = row.texts
    if narrow:
        text["bbox"] = {"facecolor": CARD, "edgecolor": "none", "pad": 1.0}
        label = wrap_lines(row.label, 34)
        short_label = label[0] + ("…" if len(label) > 1 else "")
        left = 0.04 if row.is_side_rung else 0
        mark(ax.text(left, y(13), short_label, fontweight=weight, **text), condition=row.label)
        ax.text(1, y(13), reached, ha="right", **text)
        ax.text(1, y(31), gained, color=MUTED, ha="right", fontsize=12, **text)
        return
    label = wrap_lines(row.label, 24 if row.is_side_rung else 26)[:2]
    beside: dict[str, Any] = {"ha": "right", "fontweight": weight, "linespacing": 1.2}
    mark(ax.text(-0.03, y(height / 2), "\n".join(label), **beside, **text), condition=row.label)
    ax.text(1.03, y(height / 2), reached, **text)
    ax.text(1.03 + 0.17, y(height / 2), gained, color=MUTED, fontsize=12, **text)


def _legend(rows: tuple[RungRow, ...]) -> list[Any]:
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str, face: str, edge: str, **form: Any) -> Line2D:
        form |= {"marker": marker, "mfc": face, "mec": edge}
        return Line2D([], [], ls="none", ms=7.5, label=label, **form)

    handles = []
    if any(not row.is_side_rung for row in rows):
        handles.append(mark(tr("rung"), "o", MAIN_COLOR, MAIN_COLOR))
    if any(row.is_side_rung for row in rows):
        handles.append(mark(tr("side rung"), "s", CARD, SIDE_COLOR, mew=1.8))
    if any(row.train_pct is not None for row in rows):
        handles.append(mark(tr("train"), "^", "none", MUTED))
    return [*handles, Line2D([], [], color=INK, lw=1.8, label=tr("95 % interval"))]
