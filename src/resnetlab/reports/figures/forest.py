"""Forest plot with a row for each claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnetlab.reports.figures.canvas import (
    CARD,
    GRID,
    INK,
    MUTED,
    NARROW_PX,
    REFERENCE_STYLE,
    SERIES,
    WIDE_PX,
    draw_segment,
    mark,
    new_figure,
    wrap_lines,
)
from resnetlab.reports.plot_data import ForestPlot, ForestRow
from resnetlab.translation import tr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def draw_forest_plot(plot: ForestPlot, narrow: bool) -> Figure:
    """Draw the rows by unit, each unit with its axis; claims without an effect come last."""
    units = list(dict.fromkeys(row.unit for row in sorted(plot.rows, key=lambda row: not row.unit)))
    groups = [[row for row in plot.rows if row.unit == unit] for unit in units]
    numbers = {id(row): number for number, row in enumerate(plot.rows)}
    width, foot = NARROW_PX if narrow else WIDE_PX, 46
    failures = any(row.texts[2] for row in plot.rows)
    row_height = (126 if failures else 110) if narrow else (84 if failures else 66)
    feet = [foot if unit else 8 for unit in units]
    height = row_height * len(plot.rows) + sum(feet) + 4
    figure = new_figure(width, height)
    left, right = (10 / width, 1 - 14 / width) if narrow else (252 / width, 1 - 276 / width)
    top: float = height - 4
    for unit, rows, below in zip(units, groups, feet, strict=True):
        top -= row_height * len(rows)
        ax = figure.add_axes((left, top / height, right - left, row_height * len(rows) / height))
        top -= below
        low, high = _scale(rows)
        ax.set(xlim=(low, high), ylim=(len(rows) - 0.5, -0.5), yticks=[])
        if unit:
            ax.grid(axis="x")
            ax.axvline(0, color=MUTED, lw=1, zorder=2)
            ax.locator_params(axis="x", nbins=4 if narrow else 6)
            figure.text(
                left,
                (top + 4) / height,
                tr("left better by, {unit}", unit=unit),
                color=MUTED,
                fontsize=12,
            )
        else:
            ax.set_xticks([])
            ax.spines["bottom"].set_visible(False)
        for index, row in enumerate(rows):
            _draw_row(ax, row, index, row_height, narrow, numbers[id(row)])
    return figure


def _smaller(line: str) -> dict[str, Any]:
    """Return a smaller size of letters for a line that is wider than the margin."""
    return {"fontsize": 11 if len(line) <= 44 else 10} if len(line) > 36 else {}


def _scale(rows: list[ForestRow]) -> tuple[float, float]:
    """Return the ends of the scale: it contains every effect, zero and the finite ends of regions.

    Intervals extend it by at most the spread of these values on each side.
    """
    effects = [row.effect for row in rows if row.effect is not None] + [
        known.effect for row in rows for known in row.reference_effects
    ]
    ends = [
        end for row in rows for end in row.region if row.effect is not None and -1e9 < end < 1e9
    ]
    low, high = min([0.0, *effects, *ends]), max([0.0, *effects, *ends])
    width = max(high - low, 1e-6)
    low = max(low - width, min([low, *(row.low for row in rows if row.low is not None)]))
    high = min(high + width, max([high, *(row.high for row in rows if row.high is not None)]))
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def _draw_row(ax: Axes, row: ForestRow, index: int, height: int, narrow: bool, claim: int) -> None:
    """Draw the row of a claim, `height` pixels high: its region, its effect and its texts."""

    def y(pixels: float) -> float:
        return index - 0.5 + pixels / height

    ax.axhline(index + 0.5, color=GRID, lw=1, zorder=0)
    center, half = (height - 20, 12) if narrow else (height / 2, 24)
    for artist in _draw_effect(ax, row, y(center), half / height):
        mark(artist, claim=claim, tip=f"{row.label} {row.texts[0]}")
    text: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
    lines = [(row.verdict, INK, "bold"), (row.texts[0], INK, "normal")]
    lines += [(line, MUTED, "normal") for line in row.texts[1:]]
    lines = [line for line in lines if line[0]]
    if narrow:
        text["bbox"] = {"facecolor": CARD, "edgecolor": "none", "pad": 1.0}
        label, *more = wrap_lines(row.label, 42)
        title = label + ("…" if more else "")
        mark(ax.text(0, y(12), title, fontweight="bold", fontsize=12, **text), claim=claim)
        for number, (line, shade, _) in enumerate(lines):
            ax.text(0, y(29 + 16 * number), line[:56], color=shade, fontsize=12, **text)
        return
    label = "\n".join(wrap_lines(row.label, 32))
    mark(ax.text(-0.04, y(height / 2), label, ha="right", linespacing=1.3, **text), claim=claim)
    for number, (line, shade, weight) in enumerate(lines):
        below = height / 2 + 19 * (number - (len(lines) - 1) / 2)
        ax.text(1.03, y(below), line, color=shade, fontweight=weight, **_smaller(line), **text)


def _draw_effect(ax: Axes, row: ForestRow, center: float, half: float) -> list[Line2D]:
    """Draw the region of a claim, `half` above and below `center`, and its effect with interval.

    Returns the marks of the effect.
    """
    if row.effect is None or row.low is None or row.high is None:
        return []
    low, high = ax.get_xlim()
    ends = (max(low, row.region[0]), min(high, row.region[1]))
    region: dict[str, Any] = {"color": SERIES[2], "alpha": 0.16, "lw": 0, "zorder": 1}
    ax.fill_between(ends, center - half, center + half, **region)
    lines = [draw_segment(ax, [max(low, row.low), min(high, row.high)], [center] * 2, INK, 2, 3)]
    arrow: dict[str, Any] = {"color": INK, "ms": 6, "ls": "none", "clip_on": False, "zorder": 4}
    if row.low < low:
        lines += ax.plot(low, center, marker="<", **arrow)
    if row.high > high:
        lines += ax.plot(high, center, marker=">", **arrow)
    form: dict[str, Any] = {"mfc": CARD if row.trained_runs_only else INK, "mec": INK, "mew": 1.6}
    lines += ax.plot(row.effect, center, marker="o", ms=8, ls="none", zorder=5, **form)
    for known in row.reference_effects:
        ax.plot(known.effect, center + 0.75 * half, **REFERENCE_STYLE, clip_on=False, zorder=4)
    return lines
