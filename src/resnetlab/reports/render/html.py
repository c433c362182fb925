"""HTML renderer: a report as one file with its script, and without external resources."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from resnetlab.reports import figures
from resnetlab.reports.document import Report, split_note
from resnetlab.reports.render.outline import anchor, contents, outline_answers
from resnetlab.reports.render.page_data import claim_runs, page_data, row_attributes
from resnetlab.translation import current_language, tr, tr_recorded, tr_word

if TYPE_CHECKING:
    from jinja2 import Environment


def render(report: Report, drawings: Mapping[str, figures.Drawing]) -> str:
    """Return the page. `drawings` has the drawing of each figure, by its key."""
    from markupsafe import Markup

    pictures = {}
    for picture in report.plots:
        drawing = drawings[picture.key]
        pictures[picture.key] = figures.themed_picture(drawing.wide, drawing.narrow, picture.alt)
    environment = jinja_environment()
    environment.globals["row_attributes"] = row_attributes(report)
    loader = environment.loader
    assert loader is not None
    script = "\n".join(loader.get_source(environment, name)[0] for name in SCRIPT_FILES)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        report=report,
        pictures=pictures,
        contents=contents(report),
        answers=tuple(outline_answers(report)),
        claim_runs=claim_runs(report),
        page_data=page_data(report),
        # Our own script, which contains no value; its hash is all that the page may run.
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )


SCRIPT_FILES = ("report.js", "report_charts.js")
"""Templates with the parts of the page's script, in their order."""


def jinja_environment() -> Environment:
    """Return the Jinja environment: text is escaped, and a missing value raises an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def finalize(value: object) -> object:
        """Replace the space before a percent sign, so that both stay on one line."""
        return value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value

    environment = Environment(
        loader=PackageLoader("resnetlab.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "tr": tr,
        "tr_recorded": tr_recorded,
        "tr_word": tr_word,
        "language": current_language,
        "split_note": split_note,
        "row_attributes": lambda *_: "",
    }
    environment.filters["anchor"] = anchor
    return environment
