"""Figure of results/rejudged: the difference of each claim in standard deviations of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from resnetlab.reports.figures.canvas import (
    CARD,
    GRID,
    INK,
    MUTED,
    NARROW_PX,
    SERIES,
    WIDE_PX,
    draw_segment,
    figure_style,
    new_figure,
    to_standalone_svg,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rejudged_tables import JudgedClaim

LOW, HIGH = -4.0, 10.0
"""Ends of the scale. Longer intervals end in an arrow."""
DARK = {
    "#1c1e21": "#e9ecef",
    "#5b626b": "#a2abb5",
    "#dfe3e8": "#30373e",
    "#ffffff": "#1b1f23",
    "#c2540a": "#f2953f",
    "#0072b2": "#63b8f0",
    "#00805c": "#35c9a0",
}
"""Colors of the dark figure by those of the light one, as in a report."""


class Line(NamedTuple):
    """Line of the figure: a table's name, or a claim."""

    label: str
    claim: JudgedClaim | None = None


def draw_forest(tables: dict[str, list[JudgedClaim]], narrow: bool) -> str:
    """Return the figure as the text of an SVG file with fixed colors, on a light card."""
    lines: list[Line] = []
    for name, claims in tables.items():
        lines.append(Line(name))
        lines += [Line(_label(claim), claim) for claim in claims]
    width, line_px = (NARROW_PX, 34) if narrow else (WIDE_PX, 21)
    height = line_px * len(lines) + 62
    with figure_style():
        figure = new_figure(width, height)
        left = 12 / width if narrow else 430 / width
        bottom = 58 / height
        ax = figure.add_axes((left, bottom, 1 - left - 20 / width, 1 - bottom - 4 / height))
        ax.set(xlim=(LOW, HIGH), ylim=(len(lines) - 0.5, -0.5), yticks=[])
        ax.set_xticks(range(-4, 11, 2))
        ax.grid(axis="x")
        ax.axvline(0, color=MUTED, lw=1, zorder=2)
        for index, line in enumerate(lines):
            _draw_line(ax, line, index, narrow)
        note = "difference / standard deviation of a run; right of 0: the left row is better"
        note = "difference / sd of a run" if narrow else note
        figure.text(left, 22 / height, note, color=MUTED, fontsize=12)
        legend = "filled: supported; open: inconclusive"
        figure.text(left, 6 / height, legend, color=MUTED, fontsize=12)
        return to_standalone_svg(to_svg(figure, f"forest-{narrow:d}"))


def darken(svg: str) -> str:
    """Return a figure in the colors of a dark page."""
    for light, dark in DARK.items():
        svg = svg.replace(light, dark)
    return svg


def _label(claim: JudgedClaim) -> str:
    return f"{claim.pair.column}: {claim.pair.left} > {claim.pair.right}"


def _draw_line(ax: Axes, line: Line, index: int, narrow: bool) -> None:
    at = ax.get_yaxis_transform()
    if line.claim is None:
        ax.axhline(index - 0.5, color=GRID, lw=1, zorder=0)
        text = {"x": 0.0 if narrow else -0.02, "ha": "left" if narrow else "right"}
        ax.text(y=index, s=line.label, va="center", fontweight="bold", transform=at, **text)
        return
    if narrow:
        label = line.label if len(line.label) <= 54 else f"{line.label[:53]}…"
        box = {"facecolor": CARD, "edgecolor": "none", "pad": 0.6}
        ax.text(0, index - 0.22, label, va="center", fontsize=10.5, transform=at, bbox=box)
    else:
        label = line.label if len(line.label) <= 66 else f"{line.label[:65]}…"
        ax.text(-0.02, index, label, ha="right", va="center", fontsize=11.5, transform=at)
    _draw_effect(ax, line.claim, index + (0.24 if narrow else 0))


def _draw_effect(ax: Axes, claim: JudgedClaim, y: float) -> None:
    interval, sd = claim.effect.interval(), claim.sd
    low, estimate, high = (
        value / sd for value in (interval.low, claim.effect.estimate, interval.high)
    )
    supported = claim.word == "supported"
    color = SERIES[2] if supported else INK
    draw_segment(ax, [max(LOW, low), min(HIGH, high)], [y, y], color, 2, 3)
    for end, marker, beyond in ((LOW, "<", low < LOW), (HIGH, ">", high > HIGH)):
        if beyond:
            ax.plot(end, y, marker=marker, color=color, ms=6, ls="none", clip_on=False, zorder=4)
    if estimate > HIGH:
        text = {"ha": "right", "va": "center", "fontsize": 11, "color": color, "zorder": 5}
        box = {"facecolor": CARD, "edgecolor": "none", "pad": 1.0}
        ax.text(HIGH - 0.3, y, f"{estimate:.0f}", bbox=box, **text)
    else:
        face = color if supported else CARD
        ax.plot(estimate, y, marker="o", ms=7, mfc=face, mec=color, mew=1.5, ls="none", zorder=5)
