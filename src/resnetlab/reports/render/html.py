"""The report as one HTML file: no script, nothing loaded from elsewhere, light and dark, desktop and phone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from resnetlab.reports import figures
from resnetlab.reports.document import Report

if TYPE_CHECKING:
    from jinja2 import Environment


def render(report: Report, drawings: Mapping[str, figures.Drawing]) -> str:
    """The page; `drawings` by the key of their picture."""
    from markupsafe import Markup, escape

    pictures = {}
    for picture in report.pictures:
        label, drawing = str(escape(picture.alt)), drawings[picture.key]
        # matplotlib escapes the text that it draws; nothing else of ours stands in its SVG.
        pictures[picture.key] = Markup(
            f'<div class="wide">{figures.themed(drawing.wide, label)}</div>'
            f'<div class="narrow">{figures.themed(drawing.narrow, label)}</div>'
        )
    return environment().get_template("report.html").render(report=report, pictures=pictures)


def environment() -> Environment:
    """Of the pages: text is escaped, and a value that is missing is a mistake."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def finalize(value: object) -> object:
        """A number and its percent sign stay on one line."""
        return value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value

    return Environment(
        loader=PackageLoader("resnetlab.reports"), autoescape=True, undefined=StrictUndefined, finalize=finalize,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
