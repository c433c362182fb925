"""First figure of a report: every run as a dot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resnetlab.reports.display_limits import MAX_DOTS, limit_per_group, select_evenly
from resnetlab.reports.figures.canvas import (
    CARD,
    GRID,
    INK,
    MARKERS,
    MUTED,
    NARROW_PX,
    REFERENCE_STYLE,
    SERIES,
    WIDE_PX,
    draw_legend,
    draw_segment,
    format_exact,
    format_percent_axis,
    format_value_axis,
    mark,
    new_figure,
    wrap_lines,
)
from resnetlab.reports.plot_data import Dot, DotPlot, DotRow
from resnetlab.translation import deferred, tr, tr_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

OUTCOMES_AT_EDGE = ("out of memory", "missing")
"""Outcomes without an accuracy; their marks are at the left edge of the axis."""


def draw_dot_plot(plot: DotPlot, narrow: bool) -> Figure:
    """Draw a dot for each run, or for part of many runs, and a row for each condition."""
    rows, width = drawn_rows(plot), NARROW_PX if narrow else WIDE_PX
    plot = replace(plot, rows=rows)
    low, high = plot.low_pct, plot.high_pct
    edge = any(_is_at_edge(dot) for row in rows for dot in row.dots)
    handles = _legend(rows, any(low <= row.chance_pct <= high for row in rows))
    columns = 2 if narrow else 5
    extra = 0
    if max(len(row.label) for row in rows) > 18:
        extra = max(len(wrap_lines(row.label, 40)) for row in rows) * 18
    foot, row_height = 34 + 19 * -(-len(handles) // columns), 106 + extra if narrow else 68
    row_height += 15 * max(len(row.reference_marks) for row in rows)
    height = row_height * len(rows) + foot + 6
    figure = new_figure(width, height)
    left, right = (10 / width, 1 - 14 / width) if narrow else (176 / width, 1 - 214 / width)
    ax = figure.add_axes((left, foot / height, right - left, row_height * len(rows) / height))
    ax.set(xlim=(low - 0.06 * (high - low) * edge, high), ylim=(len(rows) - 0.5, -0.5), yticks=[])
    (format_percent_axis if plot.unit == "%" else format_value_axis)(ax, narrow)
    for index in range(len(rows)):
        _draw_row(ax, plot, index, row_height, extra if narrow else None)
    draw_legend(figure, handles, 4 / width if narrow else left, columns, 1.5)
    return figure


def drawn_rows(plot: DotPlot) -> tuple[DotRow, ...]:
    """Return the rows that are drawn, with their dots that are drawn."""
    rows = [row for row in plot.rows if not plot.drawn_labels or row.label in plot.drawn_labels]
    limit = limit_per_group(MAX_DOTS, len(rows))
    return tuple(replace(row, dots=select_evenly(row.dots, limit, _rank)) for row in rows)


def _rank(dot: Dot) -> tuple[bool, float]:
    """Return the key by which the dots of a condition are ordered: first those without a value."""
    value = dot.value_pct
    return (True, value) if value is not None and value == value else (False, 0.0)


def _is_at_edge(dot: Dot) -> bool:
    """Return True if a run has no value: its memory ran out, it is missing, or its value is NaN."""
    return dot.outcome in OUTCOMES_AT_EDGE or dot.value_pct != dot.value_pct


def _draw_row(ax: Axes, plot: DotPlot, index: int, height: int, label_height: int | None) -> None:
    """Draw the row of a condition, `height` pixels high.

    `label_height` is the room for a long label in a narrow figure; None in a wide figure.
    """
    row = plot.rows[index]

    def y(pixels: float) -> float:
        """Convert pixels below the upper edge of the row to the units of the axis."""
        return index - 0.5 + pixels / height

    below = label_height or 0
    top, bottom, bar = 46 + below, 76 + below, 91 + below
    if label_height is None:
        top, bottom, bar = 11, 43, 56
    chance: dict[str, Any] = {"color": MUTED, "lw": 1.2, "ls": (0, (2, 2)), "zorder": 1}
    ax.plot([row.chance_pct] * 2, [index - 0.5, index + 0.5], **chance)
    ax.axhline(index + 0.5, color=GRID, lw=1, zorder=0)
    step = (bottom - top) / max(4, len(row.dots) - 1)
    for number, dot in enumerate(row.dots):
        pixels = (top + bottom) / 2 + (number - (len(row.dots) - 1) / 2) * step
        _draw_dot(ax, dot, y(pixels), row, plot)
    if row.mean_pct is not None:
        tip = tr("{condition}, mean: {value}", condition=row.label, value=row.texts[1])
        lines = [draw_segment(ax, [row.mean_pct] * 2, [y(bar - 6), y(bar + 6)], INK, 3, 5)]
        if row.low_pct is not None and row.high_pct is not None:
            lines.append(draw_segment(ax, [row.low_pct, row.high_pct], [y(bar)] * 2, INK, 2, 4))
        for line in lines:
            mark(line, condition=row.label, tip=tip)
    for number, known in enumerate(row.reference_marks, 1):
        y_mark = y(bar + 15 * number)
        lines = ax.plot(known.value_pct, y_mark, **REFERENCE_STYLE, clip_on=False, zorder=5)
        if known.low_pct is not None and known.high_pct is not None:
            ends = [known.low_pct, known.high_pct]
            lines.append(draw_segment(ax, ends, [y_mark] * 2, MUTED, 1.4, 4))
        value = format_exact(known.value_pct, plot.unit)
        for line in lines:
            tip = tr("{condition}, published: {value}", condition=row.label, value=value)
            mark(line, condition=row.label, tip=tip)
    if label_height is None:
        _write_wide_labels(ax, row, y)
    else:
        _write_narrow_labels(ax, row, y, label_height)


def _write_narrow_labels(
    ax: Axes, row: DotRow, y: Callable[[float], float], label_height: int
) -> None:
    """Write label and numbers above the dots, in a narrow figure."""
    rate, numbers = row.texts
    edge = _edge_text(row)
    text: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
    # The background hides lines behind the text.
    text["bbox"] = {"facecolor": CARD, "edgecolor": "none", "pad": 1.5}
    for number, line in enumerate(wrap_lines(row.label, 40)):
        mark(ax.text(0, y(15 + 18 * number), line, fontweight="bold", **text), condition=row.label)
    ax.text(1, y(15 + label_height), numbers, ha="right", **text)
    runs = f"{rate}, {edge}" if edge else rate
    ax.text(1, y(32 + label_height), runs, color=MUTED, ha="right", **text)


def _write_wide_labels(ax: Axes, row: DotRow, y: Callable[[float], float]) -> None:
    """Write the label left of the dots and the numbers right of them, in a wide figure."""
    rate, numbers = row.texts
    text: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
    form: dict[str, Any] = {"ha": "right", "fontweight": "bold", "linespacing": 1.35}
    label = ax.text(-0.03, y(34), "\n".join(wrap_lines(row.label, 20)), **form, **text)
    mark(label, condition=row.label)
    candidates = ((rate, MUTED), (numbers, INK), (_edge_text(row), MUTED))
    lines = [candidates[0], *(pair for pair in candidates[1:] if pair[0])]
    for number, (line, shade) in enumerate(lines):
        ax.text(1.04, y(34 + 20 * (number - (len(lines) - 1) / 2)), line, color=shade, **text)


_FAILED_MARKS: dict[str, dict[str, Any]] = {
    "at chance": {"marker": "x", "ms": 7.5, "mew": 2},
    "diverged": {"marker": "v", "ms": 8, "mfc": "none", "mew": 1.7},
    "out of memory": {"marker": "X", "ms": 8, "mfc": "none", "mew": 1.5},
    "missing": {"marker": "d", "ms": 8, "mfc": "none", "mew": 1.5},
}
"""Marks of runs that failed, all of them open."""


def _draw_dot(ax: Axes, dot: Dot, y: float, row: DotRow, plot: DotPlot) -> None:
    """Draw the dot of a run: filled if it trained, open if it failed.

    A run without an accuracy is at the left edge of the axis.
    """
    outcome, value = dot.outcome, dot.value_pct
    color = SERIES[row.series_index % len(SERIES)]
    form: dict[str, Any] = {"color": color, "ls": "none", "zorder": 3, "clip_on": False}
    lines = []
    if _is_at_edge(dot):
        edge = {"transform": ax.get_yaxis_transform(), **_FAILED_MARKS[outcome]}
        lines = ax.plot(0.012, y, **edge, **form)
    elif value is not None and outcome == "trained":
        form |= {"marker": MARKERS[row.series_index % len(MARKERS)], "ms": 7.5}
        lines = ax.plot(value, y, markeredgecolor=CARD, markeredgewidth=0.8, **form)
    elif value is not None and outcome in _FAILED_MARKS:
        lines = ax.plot(value, y, **_FAILED_MARKS[outcome], **form)
    result = "" if value is None or _is_at_edge(dot) else format_exact(value, plot.unit)
    state = "" if outcome == "trained" and result else tr_word(outcome)
    sentence = {
        "seed": deferred("{condition}, seed {seed}: {result}"),
        "run": deferred("{condition}, run {seed}: {result}"),
    }[plot.numbered_by]
    reached = ", ".join(filter(None, (result, state)))
    tip = tr(sentence, condition=row.label, seed=dot.seed, result=reached)
    for line in lines:
        mark(line, condition=row.label, seed=dot.seed, tip=tip)


def _edge_text(row: DotRow) -> str:
    """Describe the marks at the left edge: `2 out of memory, 1 missing`."""
    outcomes = [dot.outcome for dot in row.dots if _is_at_edge(dot)]
    return ", ".join(
        tr("{number} {status}", number=outcomes.count(name), status=tr_word(name))
        for name in ("diverged", *OUTCOMES_AT_EDGE)
        if name in outcomes
    )


def _legend(rows: tuple[DotRow, ...], chance: bool) -> list[Line2D]:
    """Return the legend of the marks that occur."""
    from matplotlib.lines import Line2D

    outcomes = {dot.outcome for row in rows for dot in row.dots}
    styles = [row.series_index for row in rows for dot in row.dots if dot.outcome == "trained"]
    trained = {"marker": MARKERS[min(styles, default=0) % len(MARKERS)], "ms": 7.5}
    marks: dict[str, dict[str, Any]] = {"trained": trained, **_FAILED_MARKS}
    names = {"trained": tr("trained run")}
    handles = [
        Line2D([], [], color=MUTED, ls="none", label=names.get(outcome, tr_word(outcome)), **form)
        for outcome, form in marks.items()
        if outcome in outcomes
    ]
    if any(row.low_pct is not None for row in rows):
        handles.append(
            Line2D(
                [], [], color=INK, lw=2, marker="|", ms=9, mew=3, label=tr("mean, 95 % t-interval")
            )
        )
    if any(row.reference_marks for row in rows):
        handles.append(Line2D([], [], label=tr("published"), **REFERENCE_STYLE))
    if chance:
        handles.append(Line2D([], [], color=MUTED, lw=1.2, ls=(0, (2, 2)), label=tr("chance")))
    return handles
