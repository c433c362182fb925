"""First figure of a report: every run as a dot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnetlab.reports.document import DotPlot, DotRow
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
    new_figure,
    wrap_lines,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

OUTCOMES_AT_EDGE = ("out of memory", "missing")
"""Outcomes without an accuracy; their marks are at the left edge of the axis."""


def draw(plot: DotPlot, narrow: bool) -> Figure:
    """Draw every run as a dot, with a row for each condition."""
    rows, width = plot.rows, NARROW_PX if narrow else WIDE_PX
    low, high = plot.low_pct, plot.high_pct
    edge = any(dot.outcome in OUTCOMES_AT_EDGE for row in rows for dot in row.dots)
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
    ax.grid(axis="x")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g} %" if 0 <= value <= 100 else "")
    ax.locator_params(axis="x", nbins=4 if narrow else 6)
    for index, row in enumerate(rows):
        _draw_row(ax, row, index, row_height, extra if narrow else None)
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(4 / width if narrow else left, 0),
        borderaxespad=0.2,
        ncols=columns,
        fontsize=12,
        labelcolor=MUTED,
        handlelength=1.5,
        handletextpad=0.5,
        columnspacing=1.4,
        borderpad=0,
    )
    return figure


def _draw_row(
    ax: Axes, row: DotRow, index: int, height: int, extra_label_height: int | None
) -> None:
    """Draw the row of a condition, `height` pixels high.

    A row of a narrow figure has `extra` pixels for a long label; in a wide figure `extra` is None.
    """

    def y(pixels: float) -> float:
        """Convert pixels below the upper edge of the row to the units of the axis."""
        return index - 0.5 + pixels / height

    color = SERIES[row.series_index % len(SERIES)]
    small, below = extra_label_height is not None, extra_label_height or 0
    top, bottom, bar = (46 + below, 76 + below, 91 + below) if small else (11, 43, 56)
    ax.plot(
        [row.chance_pct] * 2,
        [index - 0.5, index + 0.5],
        color=MUTED,
        lw=1.2,
        ls=(0, (2, 2)),
        zorder=1,
    )
    ax.axhline(index + 0.5, color=GRID, lw=1, zorder=0)
    step = (bottom - top) / max(4, len(row.dots) - 1)
    for number, dot in enumerate(row.dots):
        pixels = (top + bottom) / 2 + (number - (len(row.dots) - 1) / 2) * step
        _draw_dot(ax, dot.outcome, dot.value_pct, y(pixels), row.series_index, color)
    if row.mean_pct is not None:
        if row.low_pct is not None and row.high_pct is not None:
            ax.plot(
                [row.low_pct, row.high_pct],
                [y(bar)] * 2,
                color=INK,
                lw=2,
                solid_capstyle="butt",
                zorder=4,
            )
        ax.plot(
            [row.mean_pct] * 2,
            [y(bar - 6), y(bar + 6)],
            color=INK,
            lw=3,
            solid_capstyle="butt",
            zorder=5,
        )
    for number, mark in enumerate(row.reference_marks, 1):
        y_mark = y(bar + 15 * number)
        if mark.low_pct is not None and mark.high_pct is not None:
            ax.plot(
                [mark.low_pct, mark.high_pct],
                [y_mark] * 2,
                color=MUTED,
                lw=1.4,
                solid_capstyle="butt",
                zorder=4,
            )
        ax.plot(mark.value_pct, y_mark, **REFERENCE_STYLE, clip_on=False, zorder=5)
    rate, numbers = row.texts
    edge = _edge_text(row)
    text: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
    if small:
        text["bbox"] = {
            "facecolor": CARD,
            "edgecolor": "none",
            "pad": 1.5,
        }  # the background hides lines behind the text
        for number, line in enumerate(wrap_lines(row.label, 40)):
            ax.text(0, y(15 + 18 * number), line, fontweight="bold", **text)
        ax.text(1, y(15 + below), numbers, ha="right", **text)
        ax.text(
            1, y(32 + below), f"{rate}, {edge}" if edge else rate, color=MUTED, ha="right", **text
        )
    else:
        ax.text(
            -0.03,
            y(34),
            "\n".join(wrap_lines(row.label, 20)),
            ha="right",
            fontweight="bold",
            linespacing=1.35,
            **text,
        )
        lines = [
            (rate, MUTED),
            *([(numbers, INK)] if numbers else []),
            *([(edge, MUTED)] if edge else []),
        ]
        for number, (line, shade) in enumerate(lines):
            ax.text(1.04, y(34 + 20 * (number - (len(lines) - 1) / 2)), line, color=shade, **text)


def _draw_dot(
    ax: Axes, outcome: str, value: float | None, y: float, style: int, color: str
) -> None:
    """Draw the dot of a run: filled if it trained, open if it failed.

    A run without an accuracy is at the left edge of the axis.
    """
    form: dict[str, Any] = {"color": color, "ls": "none", "zorder": 3, "clip_on": False}
    match outcome:
        case "trained" if value is not None:
            edge: dict[str, Any] = {"markeredgecolor": CARD, "markeredgewidth": 0.8}
            ax.plot(value, y, marker=MARKERS[style % len(MARKERS)], ms=7.5, **(form | edge))
        case "at chance" if value is not None:
            ax.plot(value, y, marker="x", ms=7.5, mew=2, **form)
        case "diverged" if value is not None:
            ax.plot(value, y, marker="v", ms=8, mfc="none", mew=1.7, **form)
        case "out of memory" | "missing":
            marker = "X" if outcome == "out of memory" else "d"
            ax.plot(
                0.012,
                y,
                marker=marker,
                ms=8,
                mfc="none",
                mew=1.5,
                transform=ax.get_yaxis_transform(),
                **form,
            )
        case _:
            pass


def _edge_text(row: DotRow) -> str:
    """Describe the marks at the left edge: `2 out of memory, 1 missing`."""
    outcomes = [dot.outcome for dot in row.dots]
    return ", ".join(
        f"{outcomes.count(name)} {name}" for name in OUTCOMES_AT_EDGE if name in outcomes
    )


def _legend(rows: tuple[DotRow, ...], chance: bool) -> list[Line2D]:
    """Return the legend of the marks that occur."""
    from matplotlib.lines import Line2D

    outcomes = {dot.outcome for row in rows for dot in row.dots}
    styles = [row.series_index for row in rows for dot in row.dots if dot.outcome == "trained"]
    marks: dict[str, tuple[str, dict[str, Any]]] = {
        "trained": (
            "trained run",
            {"marker": MARKERS[min(styles, default=0) % len(MARKERS)], "ms": 7.5},
        ),
        "at chance": ("at chance", {"marker": "x", "ms": 7.5, "mew": 2}),
        "diverged": ("diverged", {"marker": "v", "ms": 8, "mfc": "none", "mew": 1.7}),
        "out of memory": ("out of memory", {"marker": "X", "ms": 8, "mfc": "none", "mew": 1.5}),
        "missing": ("missing", {"marker": "d", "ms": 8, "mfc": "none", "mew": 1.5}),
    }
    handles = [
        Line2D([], [], color=MUTED, ls="none", label=text, **form)
        for key, (text, form) in marks.items()
        if key in outcomes
    ]
    if any(row.low_pct is not None for row in rows):
        handles.append(
            Line2D([], [], color=INK, lw=2, marker="|", ms=9, mew=3, label="mean, 95 % t-interval")
        )
    if any(row.reference_marks for row in rows):
        handles.append(Line2D([], [], label="published", **REFERENCE_STYLE))
    if chance:
        handles.append(Line2D([], [], color=MUTED, lw=1.2, ls=(0, (2, 2)), label="chance"))
    return handles
