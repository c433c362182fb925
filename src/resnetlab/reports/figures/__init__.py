"""Figures of a report as SVG, each in a wide and a narrow form, and as PDF."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnetlab.reports import document
from resnetlab.reports.document import Curves, Depths, Dots, Forest, Scatter, Steps, Worths
from resnetlab.reports.figures import curves, depth, dots, forest, ladder, scatter
from resnetlab.reports.figures.canvas import COLOURS, fix_colours, standalone, style, svg, themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "Drawing", "draw", "pdf", "standalone", "themed"]


@dataclass(frozen=True)
class Drawing:
    """Figure at both widths, as SVG. Its colors are still placeholders."""

    wide: str
    narrow: str


def draw(picture: document.Figure) -> Drawing:
    """Draw a figure as SVG at both widths."""
    with style():
        wide, narrow = (
            svg(_painted(picture, small), f"{picture.key}-{small:d}") for small in (False, True)
        )
    return Drawing(wide, narrow)


def pdf(picture: document.Figure) -> bytes:
    """Draw the wide figure as a PDF file with its fonts, in fixed colors.

    The same values give the same bytes.
    """
    import matplotlib as mpl

    buffer = io.BytesIO()
    with style(), mpl.rc_context({"pdf.fonttype": 42}):
        figure = _painted(picture, False)
        fix_colours(figure)
        figure.savefig(
            buffer, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer"))
        )
    return buffer.getvalue()


def _painted(picture: document.Figure, small: bool) -> Figure:
    painters: dict[type, Callable[[Any, bool], Figure]] = {
        Dots: dots.paint,
        Curves: curves.paint,
        Forest: forest.paint,
        Steps: ladder.paint,
        Depths: depth.paint,
        Worths: depth.paint_worths,
        Scatter: scatter.paint,
    }
    return painters[type(picture)](picture, small)
