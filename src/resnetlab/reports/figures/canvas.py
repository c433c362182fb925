"""Canvas of all figures: sizes, style and colors.

The figures use matplotlib's object interface, without pyplot's global state. Colors are
placeholders: they become CSS variables in a page and fixed colors in a separate file. The same
values give the same bytes.
"""

from __future__ import annotations

import html
import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from resnetlab.translation import current_language, localize_number, tr

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Placeholder: CSS variable, fixed color. Series: Okabe and Ito 2008, darkened where text needs more
# contrast.
COLORS = {
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
INK, MUTED, GRID, CARD, *SERIES = COLORS
MARKERS = ("o", "s", "^", "D", "P", "h")
LINE_STYLES: tuple[Any, ...] = (
    (0, (4, 1.6)),
    "-",
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (1.2, 1.2)),
    (0, (8, 2)),
    "-",
)

REFERENCE_STYLE: dict[str, Any] = {
    "color": INK,
    "marker": "D",
    "ms": 7,
    "mfc": CARD,
    "mew": 1.6,
    "ls": "none",
}
"""Style of a published number: an open diamond."""

WIDE_PX, NARROW_PX = 880, 342
"""Widths in CSS pixels: the column of a desktop page, and a phone of 390 pixels minus its margins.
"""


@contextmanager
def figure_style() -> Iterator[None]:
    """Set the matplotlib settings for drawing and saving figures."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "font.size": 13,
        "font.family": "DejaVu Sans",
        "text.parse_math": False,
        "text.color": INK,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "axes.titlesize": 13,
        "axes.titleweight": "bold",
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "axes.labelsize": 12,
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.linewidth": 0.8,
        "grid.color": GRID,
        "grid.linewidth": 1,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.unicode_minus": True,
        "path.simplify": False,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the browser draws glyphs that matplotlib's font lacks
        yield


def mark(artist: Artist, **values: str | int | None) -> None:
    """Give the SVG element of an artist data attributes: `data-condition`, for example.

    The script of a report's page reads them. `None` is left out. The names are:

    - `condition`: label of the condition; `seed`: seed of the run;
    - `claim`: number of the claim, from 0;
    - `tip`: sentence with the value, which the page shows beside the pointer;
    - `set`: key of the curves to which the lines of an axes belong (`curves` of the page data);
    - `kind`: `mean` or `run` of a line, and `other` for the mean of another condition.
    """
    known = {name: value for name, value in values.items() if value is not None}
    artist.set_gid(_MARK + urlencode(known))


_MARK = "mark?"
"""Beginning of an id that `to_svg` replaces by data attributes."""


def _data_attributes(match: re.Match[str]) -> str:
    pairs = parse_qsl(html.unescape(match[1]), keep_blank_values=True)
    return " ".join(f'data-{name}="{html.escape(value)}"' for name, value in pairs)


def to_svg(figure: Figure, name: str) -> str:
    """Return the SVG element of a figure; unique ids let a page contain several figures."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>", "", text, flags=re.S
    )
    head, rest = text.split(">", 1)
    text = re.sub(r' (?:xmlns(?::xlink)?|width|height|version)="[^"]*"', "", head) + ">" + rest
    text = text.replace("xlink:href=", "href=")
    text = re.sub(rf'\bid="{re.escape(_MARK)}([^"]*)"', _data_attributes, text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r"font-family: [^;\"]+", "font-family: inherit", text)
    text = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", text)
    return re.sub(r"\s*\n\s*", " ", text)


def new_figure(width: int, height: float) -> Figure:
    """Return an empty figure of a size in CSS pixels, the units of the SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    return figure


def draw_segment(
    ax: Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    color: str,
    lw: float,
    zorder: float,
    alpha: float | None = None,
) -> Line2D:
    """Draw a line from (xs[0], ys[0]) to (xs[1], ys[1]) that ends exactly there."""
    (line,) = ax.plot(xs, ys, color=color, lw=lw, alpha=alpha, solid_capstyle="butt", zorder=zorder)
    return line


def draw_legend(
    figure: Figure, handles: list[Line2D], left: float, columns: int, handlelength: float
) -> None:
    """Draw a legend at the bottom, from `left` on, a share of the width."""
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(left, 0),
        borderaxespad=0.2,
        ncols=columns,
        fontsize=12,
        labelcolor=MUTED,
        handlelength=handlelength,
        handletextpad=0.5,
        columnspacing=1.4,
        borderpad=0,
    )


def format_percent_axis(ax: Axes, narrow: bool) -> None:
    """Draw the grid and the labels of a horizontal axis in percent."""
    ax.grid(axis="x")
    ax.xaxis.set_major_formatter(
        lambda value, _: format_tick_pct(value) if 0 <= value <= 100 else ""
    )
    ax.locator_params(axis="x", nbins=4 if narrow else 6)


def format_exact(value: float, unit: str) -> str:
    """Format a measured value with all its digits (at most 10): `98.88579387 %`."""
    number = localize_number(f"{value:.10g}".replace("-", "\N{MINUS SIGN}"))
    return tr("{number} %", number=number) if unit == "%" else f"{number} {unit}".rstrip()


def format_tick_pct(value: float, _: float = 0.0) -> str:
    """Format the label of a tick in percent: `12.5 %`."""
    return tr("{number} %", number=localize_number(f"{value:g}"))


def localize_ticks(figure: Figure) -> None:
    """Write the numbers beside the axes of a figure in the language in use."""
    if current_language() == "en":
        return
    from matplotlib.ticker import ScalarFormatter

    class LocalizedFormatter(ScalarFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return localize_number(super().__call__(x, pos))

    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if type(axis.get_major_formatter()) is ScalarFormatter:
                axis.set_major_formatter(LocalizedFormatter())


def format_value_axis(ax: Axes, narrow: bool) -> None:
    """Draw the grid and the labels of a horizontal axis of plain numbers."""
    ax.grid(axis="x")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.6g}".replace("-", "\N{MINUS SIGN}"))
    ax.locator_params(axis="x", nbins=3 if narrow else 5)


def wrap_lines(text: str, max_chars: int) -> list[str]:
    """Wrap text to at most 3 lines."""
    return textwrap.wrap(text, max_chars, max_lines=3, placeholder="…") or [""]


def apply_fixed_colors(figure: Figure) -> None:
    """Replace the placeholder color of every artist by its fixed color."""
    from matplotlib.colors import to_hex, to_rgba

    def fixed(color: Any) -> Any:
        if isinstance(color, str) and color.lower() in ("none", "auto"):
            return color
        if getattr(color, "ndim", 1) == 2:
            return [fixed(row) for row in color]
        placeholder = to_hex(color)
        if placeholder in COLORS:
            return (*to_rgba(COLORS[placeholder][1])[:3], to_rgba(color)[3])
        return color

    figure.canvas.draw()  # matplotlib creates the ticks only when it draws
    artists: list[Any] = figure.findobj()
    boxes = [artist.get_bbox_patch() for artist in artists if hasattr(artist, "get_bbox_patch")]
    for artist in [*artists, *filter(None, boxes)]:
        for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            get, put = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            if get is None or put is None:
                continue
            before = get()
            after = fixed(before) if before is not None and len(before) else before
            if after is not before:
                put(after)


def to_themed_svg(svg: str, label: str) -> str:
    """Return the SVG for a page that defines the colors; `label` is the escaped alternative."""
    svg = _shorten(svg).replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return _replace_placeholders(svg, lambda variable, _: f"var({variable})")


def themed_picture(wide: str, narrow: str, alternative: str) -> Markup:
    """Return the SVG of a wide and of a narrow page, one of which a page shows.

    Args:
        wide: SVG for a wide page. matplotlib escapes the text that it draws, and it contains no
            other text of ours.
        narrow: SVG for a narrow page.
        alternative: Text for readers who do not see the picture, not escaped.
    """
    from markupsafe import Markup, escape

    label = str(escape(alternative))
    return Markup(
        f'<div class="wide">{to_themed_svg(wide, label)}</div>'
        f'<div class="narrow">{to_themed_svg(narrow, label)}</div>'
    )


def _shorten(svg: str) -> str:
    """Return the SVG with lines in tenths of a pixel, and without ids that nothing uses.

    The lines of a study of 60 runs over 160 epochs would otherwise be most of its page.
    """

    def shorter(path: re.Match[str]) -> str:
        digits = 2 if "C" in path[0] else 1  # marks are small, and have arcs
        points = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.{digits}f}", path[0])
        return re.sub(r"(?<=\d) ?L ?(?=[-\d])", " ", points)

    svg = re.sub(r' d="M[^"]*"', shorter, svg)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    return re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", svg)


def to_standalone_svg(svg: str) -> str:
    """Return the SVG as a file: fixed colors on a white card, for light and dark pages."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    width, height = (box[1], box[2]) if box else ("100%", "100%")
    svg = svg.replace(
        "<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" ', 1
    )
    card = f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>'
    svg = re.sub(r"(<svg [^>]*>)", rf"\1{card}", svg, count=1)
    font = "font-family: system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
    return _replace_placeholders(svg, lambda _, color: color).replace("font-family: inherit", font)


def _replace_placeholders(svg: str, color_for: Callable[[str, str], str]) -> str:
    for placeholder, (variable, color) in COLORS.items():
        svg = svg.replace(placeholder, color_for(variable, color))
    return svg
