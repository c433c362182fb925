"""The figures of a report as SVG: drawn once wide and once narrow, coloured by the page that shows them.

matplotlib draws through its object interface, without pyplot's global state. Colours are sentinels that become CSS
variables in the page and fixed colours in a file of its own. The same values give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnetlab.reports.model import Curves, DotRow, Dots, Forest, ForestRow, Line, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Sentinel: CSS variable, colour in a file of its own. Series: Okabe and Ito 2008, darkened where text needs it.
COLOURS = {
    "#010101": ("--ink", "#1c1e21"),
    "#020202": ("--muted", "#5b626b"),
    "#030303": ("--grid", "#dfe3e8"),
    "#040404": ("--card", "#ffffff"),
    "#050501": ("--series-1", "#c2540a"),
    "#050502": ("--series-2", "#0072b2"),
    "#050503": ("--series-3", "#00805c"),
    "#050504": ("--series-4", "#a8518a"),
    "#050505": ("--series-5", "#8a6d00"),
    "#050506": ("--series-6", "#4a4f57"),
}
INK, MUTED, GRID, CARD, *SERIES = COLOURS
MARKS = ("o", "s", "^", "D", "P", "h")
DASHES: tuple[Any, ...] = ((0, (4, 1.6)), "-", (0, (6, 1.5, 1.2, 1.5)), (0, (1.2, 1.2)), (0, (8, 2)), "-")

PUBLISHED: dict[str, Any] = {"color": INK, "marker": "D", "ms": 7, "mfc": CARD, "mew": 1.6, "ls": "none"}
"""A published number: an open diamond."""

EDGE = ("out of memory", "missing")
"""Outcomes without an accuracy: their marks stand at the left edge of the axis."""

WIDE, NARROW = 880, 342
"""Width in CSS pixels: a desktop's column, and a phone of 390 pixels less its margins."""


@dataclass(frozen=True)
class Drawing:
    """A figure at both widths, colours still sentinels."""

    wide: str
    narrow: str


def draw(picture: Dots | Curves | Forest) -> Drawing:
    """A figure's SVG at both widths."""
    with _style():
        wide, narrow = (_svg(_painted(picture, small), f"{picture.key}-{small:d}") for small in (False, True))
    return Drawing(wide, narrow)


def pdf(picture: Dots | Curves | Forest) -> bytes:
    """The wide figure as a PDF file with its fonts, in fixed colours; the same values give the same bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with _style(), mpl.rc_context({"pdf.fonttype": 42}):
        figure = _painted(picture, False)
        _fix_colours(figure)
        figure.savefig(buffer, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    return buffer.getvalue()


def _painted(picture: Dots | Curves | Forest, small: bool) -> Figure:
    painters: dict[type, Callable[[Any, bool], Figure]] = {Dots: _dots, Curves: _curves, Forest: _forest}
    return painters[type(picture)](picture, small)


def _fix_colours(figure: Figure) -> None:
    """Give every artist the colour that its sentinel stands for."""
    from matplotlib.colors import to_hex, to_rgba

    def fixed(colour: Any) -> Any:
        if isinstance(colour, str) and colour.lower() in ("none", "auto"):
            return colour
        if getattr(colour, "ndim", 1) == 2:
            return [fixed(row) for row in colour]
        held = to_hex(colour)
        return (*to_rgba(COLOURS[held][1])[:3], to_rgba(colour)[3]) if held in COLOURS else colour

    figure.canvas.draw()  # ticks are made when they are drawn
    found: list[Any] = figure.findobj()
    boxes = [artist.get_bbox_patch() for artist in found if hasattr(artist, "get_bbox_patch")]
    for artist in [*found, *filter(None, boxes)]:
        for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            get, put = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            if get is None or put is None:
                continue
            before = get()
            after = fixed(before) if before is not None and len(before) else before
            if after is not before:
                put(after)


def themed(svg: str, label: str) -> str:
    """The SVG for a page that defines the colours as CSS variables; `label` is its text alternative, escaped."""
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return _coloured(svg, lambda variable, _: f"var({variable})")


def standalone(svg: str) -> str:
    """The SVG as a file: fixed colours on a white card, legible on a light page and on a dark one."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    width, height = (box[1], box[2]) if box else ("100%", "100%")
    svg = svg.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" ', 1)
    card = f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>'
    svg = re.sub(r"(<svg [^>]*>)", rf"\1{card}", svg, count=1)
    font = "font-family: system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
    return _coloured(svg, lambda _, colour: colour).replace("font-family: inherit", font)


def _coloured(svg: str, choose: Callable[[str, str], str]) -> str:
    for sentinel, (variable, colour) in COLOURS.items():
        svg = svg.replace(sentinel, choose(variable, colour))
    return svg


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "svg.fonttype": "none", "font.size": 13, "font.family": "DejaVu Sans", "text.parse_math": False,
        "text.color": INK, "axes.edgecolor": MUTED, "axes.labelcolor": MUTED, "axes.titlecolor": INK,
        "axes.titlesize": 13, "axes.titleweight": "bold", "xtick.color": MUTED, "ytick.color": MUTED,
        "axes.labelsize": 12, "xtick.labelsize": 12, "ytick.labelsize": 12,
        "xtick.major.size": 0, "ytick.major.size": 0,
        "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.linewidth": 0.8,
        "grid.color": GRID, "grid.linewidth": 1, "axes.axisbelow": True, "legend.frameon": False,
        "figure.facecolor": "none", "axes.facecolor": "none", "axes.unicode_minus": True, "path.simplify": False,
    }  # fmt: skip
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that matplotlib's font lacks is the browser's to draw
        yield


def _svg(figure: Figure, name: str) -> str:
    """The figure's SVG element alone, with ids of its own: several of them stand in one page."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = (
        re.sub(r' (?:xmlns(?::xlink)?|width|height|version)="[^"]*"', "", svg[: svg.index(">")]) + svg[svg.index(">") :]
    )
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", svg)
    svg = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", svg)
    return re.sub(r"\s*\n\s*", " ", svg)


def _new(width: int, height: float) -> Figure:
    """An empty figure of that many CSS pixels: matplotlib's points are the SVG's units."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    return figure


# Every run as a dot ---------------------------------------------------------------------------------------------------


def _dots(picture: Dots, small: bool) -> Figure:
    rows, width = picture.rows, NARROW if small else WIDE
    low, high = picture.low_pct, picture.high_pct
    edge = any(dot.outcome in EDGE for row in rows for dot in row.dots)
    handles = _legend(rows, any(low <= row.chance_pct <= high for row in rows))
    columns = 2 if small else 5
    extra = max(len(_wrapped(row.label, 40)) for row in rows) * 18 if max(len(row.label) for row in rows) > 18 else 0
    foot, row_height = 34 + 19 * -(-len(handles) // columns), 106 + extra if small else 68
    row_height += 15 * max(len(row.published) for row in rows)
    height = row_height * len(rows) + foot + 6
    figure = _new(width, height)
    left, right = (10 / width, 1 - 14 / width) if small else (176 / width, 1 - 214 / width)
    ax = figure.add_axes((left, foot / height, right - left, row_height * len(rows) / height))
    ax.set(xlim=(low - 0.06 * (high - low) * edge, high), ylim=(len(rows) - 0.5, -0.5), yticks=[])
    ax.grid(axis="x")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g} %" if 0 <= value <= 100 else "")
    ax.locator_params(axis="x", nbins=4 if small else 6)
    for index, row in enumerate(rows):
        _dot_row(ax, row, index, row_height, extra if small else None)
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(4 / width if small else left, 0), borderaxespad=0.2,
        ncols=columns, fontsize=12, labelcolor=MUTED, handlelength=1.5, handletextpad=0.5, columnspacing=1.4,
        borderpad=0,
    )  # fmt: skip
    return figure


def _dot_row(ax: Axes, row: DotRow, index: int, height: int, extra: int | None) -> None:
    """A condition's band, `height` pixels high; narrow ones have `extra` pixels for a long label, wide ones None."""

    def y(pixels: float) -> float:
        """Pixels below the band's upper edge in the axis' units."""
        return index - 0.5 + pixels / height

    colour = SERIES[row.style % len(SERIES)]
    small, below = extra is not None, extra or 0
    top, bottom, bar = (46 + below, 76 + below, 91 + below) if small else (11, 43, 56)
    ax.plot([row.chance_pct] * 2, [index - 0.5, index + 0.5], color=MUTED, lw=1.2, ls=(0, (2, 2)), zorder=1)
    ax.axhline(index + 0.5, color=GRID, lw=1, zorder=0)
    step = (bottom - top) / max(4, len(row.dots) - 1)
    for place, dot in enumerate(row.dots):
        at = (top + bottom) / 2 + (place - (len(row.dots) - 1) / 2) * step
        _dot(ax, dot.outcome, dot.value_pct, y(at), row.style, colour)
    if row.mean_pct is not None:
        if row.low_pct is not None and row.high_pct is not None:
            ax.plot([row.low_pct, row.high_pct], [y(bar)] * 2, color=INK, lw=2, solid_capstyle="butt", zorder=4)
        ax.plot([row.mean_pct] * 2, [y(bar - 6), y(bar + 6)], color=INK, lw=3, solid_capstyle="butt", zorder=5)
    for place, mark in enumerate(row.published, 1):
        at = y(bar + 15 * place)
        if mark.low_pct is not None and mark.high_pct is not None:
            ax.plot([mark.low_pct, mark.high_pct], [at] * 2, color=MUTED, lw=1.4, solid_capstyle="butt", zorder=4)
        ax.plot(mark.value_pct, at, **PUBLISHED, clip_on=False, zorder=5)
    rate, numbers = row.said
    edge = _edge(row)
    text: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
    if small:
        text["bbox"] = {"facecolor": CARD, "edgecolor": "none", "pad": 1.5}  # lines stop at words
        for place, line in enumerate(_wrapped(row.label, 40)):
            ax.text(0, y(15 + 18 * place), line, fontweight="bold", **text)
        ax.text(1, y(15 + below), numbers, ha="right", **text)
        ax.text(1, y(32 + below), f"{rate}, {edge}" if edge else rate, color=MUTED, ha="right", **text)
    else:
        ax.text(
            -0.03, y(34), "\n".join(_wrapped(row.label, 20)), ha="right", fontweight="bold", linespacing=1.35, **text
        )
        lines = [(rate, MUTED), *([(numbers, INK)] if numbers else []), *([(edge, MUTED)] if edge else [])]
        for place, (line, shade) in enumerate(lines):
            ax.text(1.04, y(34 + 20 * (place - (len(lines) - 1) / 2)), line, color=shade, **text)


def _dot(ax: Axes, outcome: str, value: float | None, y: float, style: int, colour: str) -> None:
    """A converged run is filled, a failed one open; one without an accuracy stands at the axis' left edge."""
    form: dict[str, Any] = {"color": colour, "ls": "none", "zorder": 3, "clip_on": False}
    match outcome:
        case "converged" if value is not None:
            edge: dict[str, Any] = {"markeredgecolor": CARD, "markeredgewidth": 0.8}
            ax.plot(value, y, marker=MARKS[style % len(MARKS)], ms=7.5, **(form | edge))
        case "dead" if value is not None:
            ax.plot(value, y, marker="x", ms=7.5, mew=2, **form)
        case "diverged" if value is not None:
            ax.plot(value, y, marker="v", ms=8, mfc="none", mew=1.7, **form)
        case "out of memory" | "missing":
            marker = "X" if outcome == "out of memory" else "d"
            ax.plot(0.012, y, marker=marker, ms=8, mfc="none", mew=1.5, transform=ax.get_yaxis_transform(), **form)
        case _:
            pass


def _edge(row: DotRow) -> str:
    """What the marks at the left edge are: `2 out of memory, 1 missing`."""
    held = [dot.outcome for dot in row.dots]
    return ", ".join(f"{held.count(name)} {name}" for name in EDGE if name in held)


def _wrapped(text: str, letters: int) -> list[str]:
    """At most 3 lines."""
    return textwrap.wrap(text, letters, max_lines=3, placeholder="…") or [""]


def _legend(rows: tuple[DotRow, ...], chance: bool) -> list[Line2D]:
    """The marks that are there, each with its name."""
    from matplotlib.lines import Line2D

    seen = {dot.outcome for row in rows for dot in row.dots}
    styles = [row.style for row in rows for dot in row.dots if dot.outcome == "converged"]
    marks: dict[str, tuple[str, dict[str, Any]]] = {
        "converged": ("converged run", {"marker": MARKS[min(styles, default=0) % len(MARKS)], "ms": 7.5}),
        "dead": ("dead", {"marker": "x", "ms": 7.5, "mew": 2}),
        "diverged": ("diverged", {"marker": "v", "ms": 8, "mfc": "none", "mew": 1.7}),
        "out of memory": ("out of memory", {"marker": "X", "ms": 8, "mfc": "none", "mew": 1.5}),
        "missing": ("missing", {"marker": "d", "ms": 8, "mfc": "none", "mew": 1.5}),
    }
    handles = [
        Line2D([], [], color=MUTED, ls="none", label=text, **form) for key, (text, form) in marks.items() if key in seen
    ]
    if any(row.low_pct is not None for row in rows):
        handles.append(Line2D([], [], color=INK, lw=2, marker="|", ms=9, mew=3, label="mean, 95 % t-interval"))
    if any(row.published for row in rows):
        handles.append(Line2D([], [], label="published", **PUBLISHED))
    if chance:
        handles.append(Line2D([], [], color=MUTED, lw=1.2, ls=(0, (2, 2)), label="chance"))
    return handles


# A row a claim --------------------------------------------------------------------------------------------------------


def _forest(picture: Forest, small: bool) -> Figure:
    """Rows by unit, each unit on an axis of its own; claims without an effect come last, without one."""
    units = list(dict.fromkeys(row.unit for row in sorted(picture.rows, key=lambda row: not row.unit)))
    groups = [[row for row in picture.rows if row.unit == unit] for unit in units]
    width, foot = NARROW if small else WIDE, 46
    row_height = (126 if small else 84) if any(row.said[2] for row in picture.rows) else (110 if small else 66)
    feet = [foot if unit else 8 for unit in units]
    height = sum(row_height * len(rows) + below for rows, below in zip(groups, feet, strict=True)) + 4
    figure = _new(width, height)
    left, right = (10 / width, 1 - 14 / width) if small else (252 / width, 1 - 276 / width)
    top: float = height - 4
    for unit, rows, below in zip(units, groups, feet, strict=True):
        top -= row_height * len(rows)
        ax = figure.add_axes((left, top / height, right - left, row_height * len(rows) / height))
        top -= below
        low, high = _forest_scale(rows)
        ax.set(xlim=(low, high), ylim=(len(rows) - 0.5, -0.5), yticks=[])
        if unit:
            ax.grid(axis="x")
            ax.axvline(0, color=MUTED, lw=1, zorder=2)
            ax.locator_params(axis="x", nbins=4 if small else 6)
            figure.text(left, (top + 4) / height, f"left better by, {unit}", color=MUTED, fontsize=12)
        else:
            ax.set_xticks([])
            ax.spines["bottom"].set_visible(False)
        for index, row in enumerate(rows):
            _forest_row(ax, row, index, row_height, small)
    return figure


def _forest_scale(rows: list[ForestRow]) -> tuple[float, float]:
    """Every effect, zero and the finite ends of regions; intervals are cut at twice the spread."""
    held = [row.d for row in rows if row.d is not None]
    ends = [end for row in rows for end in row.region if row.d is not None and -1e9 < end < 1e9]
    low, high = min([0.0, *held, *ends]), max([0.0, *held, *ends])
    spread = max(high - low, 1e-6)
    low = max(low - spread, min([low, *(row.low for row in rows if row.low is not None)]))
    high = min(high + spread, max([high, *(row.high for row in rows if row.high is not None)]))
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def _forest_row(ax: Axes, row: ForestRow, index: int, height: int, small: bool) -> None:
    def y(pixels: float) -> float:
        return index - 0.5 + pixels / height

    at, half = y(height - 20 if small else height / 2), (12 if small else 24) / height
    ax.axhline(index + 0.5, color=GRID, lw=1, zorder=0)
    low, high = ax.get_xlim()
    if row.d is not None and row.low is not None and row.high is not None:
        ends = (max(low, row.region[0]), min(high, row.region[1]))
        ax.fill_between(ends, at - half, at + half, color=SERIES[2], alpha=0.16, lw=0, zorder=1)
        ax.plot([max(low, row.low), min(high, row.high)], [at] * 2, color=INK, lw=2, solid_capstyle="butt", zorder=3)
        for end, beyond, mark in ((low, row.low < low, "<"), (high, row.high > high, ">")):
            if beyond:
                ax.plot(end, at, marker=mark, color=INK, ms=6, ls="none", clip_on=False, zorder=4)
        face = CARD if row.conditional else INK
        ax.plot(row.d, at, marker="o", ms=8, mfc=face, mec=INK, mew=1.6, ls="none", zorder=5)
    text: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
    lines = [(row.word, INK, "bold"), *((line, INK if not n else MUTED, "normal") for n, line in enumerate(row.said))]
    lines = [line for line in lines if line[0]]
    if small:
        text["bbox"] = {"facecolor": CARD, "edgecolor": "none", "pad": 1.0}
        label = _wrapped(row.label, 42)
        ax.text(0, y(12), label[0] + ("…" if len(label) > 1 else ""), fontweight="bold", fontsize=12, **text)
        for place, (line, shade, _) in enumerate(lines):
            ax.text(0, y(29 + 16 * place), line[:56], color=shade, fontsize=12, **text)
        return
    ax.text(-0.04, y(height / 2), "\n".join(_wrapped(row.label, 32)), ha="right", linespacing=1.3, **text)
    for place, (line, shade, weight) in enumerate(lines):
        below = height / 2 + 19 * (place - (len(lines) - 1) / 2)
        ax.text(1.03, y(below), line, color=shade, fontweight=weight, **text)


# Curves ---------------------------------------------------------------------------------------------------------------


def _curves(picture: Curves, small: bool) -> Figure:
    from matplotlib.ticker import MaxNLocator

    width = NARROW if small else WIDE
    columns = min(len(picture.panels), 2 if small else 4)
    lines = -(-len(picture.panels) // columns)
    side, gap = 44, 24
    panel_width = (width - side - 6 - gap * (columns - 1)) / columns
    titles = [_wrapped(panel.label, int(panel_width / 8.6)) for panel in picture.panels]
    panel_height, head, foot = (150, 26, 44) if small else (190, 26, 44)
    head += 16 * (max(len(title) for title in titles) - 1)
    height = lines * (panel_height + head) + foot
    figure = _new(width, height)
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
            MaxNLocator(3 if small else 5, steps=[1, 2, 2.5, 5, 10], integer=max(ends, default=1.0) >= 2)
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
            0.98, picture.reference, picture.reference_label, transform=ax.get_yaxis_transform(), color=MUTED,
            ha="right", va="bottom", fontsize=12,
        )  # fmt: skip
    for other in picture.panels:
        if other is not panel and other.mean:
            ax.plot(other.mean.x, _on_scale(other.mean, picture.top), color=MUTED, lw=1, alpha=0.45, zorder=1)
    if panel.mean and panel.band:
        shown = [high <= picture.top for high in panel.band[1]]
        ax.fill_between(panel.mean.x, *panel.band, where=shown, color=colour, alpha=0.16, lw=0, zorder=2)
    for line in panel.runs:
        _run(ax, line, colour, picture.top)
    if panel.mean:
        means, dashes = _on_scale(panel.mean, picture.top), DASHES[panel.style % len(DASHES)]
        ax.plot(panel.mean.x, means, color=colour, lw=2.6, ls=dashes, zorder=4)
        above = [x for x, y in zip(panel.mean.x, means, strict=True) if math.isnan(y)]
        ax.plot(
            above, [0.95 * picture.top] * len(above), color=colour, ls="none", marker="^", ms=7, clip_on=False, zorder=4
        )


def _on_scale(line: Line, top: float) -> list[float]:
    """The values of a line, with gaps where they leave the scale: a fall from 1,000 would be a stroke across all."""
    return [y if y <= top else math.nan for y in line.y]


def _run(ax: Axes, line: Line, colour: str, top: float) -> None:
    failed = line.outcome in ("dead", "diverged", "out of memory", "missing")
    style: dict[str, Any] = {"ls": (0, (3, 2))} if failed else {}
    values = _on_scale(line, top)
    ax.plot(line.x, values, color=colour, lw=1.1 if failed else 0.9, alpha=0.9 if failed else 0.55, zorder=3, **style)
    end = (line.x[-1], min(line.y[-1], top))
    mark = {"dead": "x", "diverged": "v", "out of memory": "X", "missing": "d"}.get(line.outcome)
    if mark:
        ax.plot(*end, marker=mark, color=colour, ms=7, mfc="none", mew=1.7, clip_on=False, zorder=5)
    elif len(line.x) == 1:
        ax.plot(*end, marker=".", color=colour, zorder=3)
