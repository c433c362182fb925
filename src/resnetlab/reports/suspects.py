"""Page of labels that are probably wrong, with buttons to accept or reject each suggestion.

It contains photographs of the user, so it stays on the user's machine. Its script keeps the
decisions in the browser and writes them to a file; it loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.curation.results import SuspectReport
from resnetlab.curation.suspects import METHOD
from resnetlab.data.paths import escape_undecodable
from resnetlab.files import write_json, write_text
from resnetlab.reports.document import Detail
from resnetlab.reports.evaluation import data_uri
from resnetlab.reports.figures.values import write_path_table
from resnetlab.reports.format import format_interval, format_pct
from resnetlab.schema import encode
from resnetlab.stats.intervals import Interval
from resnetlab.translation import tr_count

if TYPE_CHECKING:
    from PIL.Image import Image

SCRIPT_FILE = "suspects.js"
COLUMNS = ("path", "split", "label", "suggested", "label_probability", "suggested_probability")


@dataclass(frozen=True)
class SuspectsPage:
    """Content of the page, in words."""

    title: str
    answer: str
    warnings: tuple[str, ...]
    details: tuple[Detail, ...]
    key: str
    """Name under which the browser keeps the decisions."""
    apply_command: str
    made_by: str


def describe_share(report: SuspectReport) -> str:
    """Return the estimated share of wrong labels in a sentence."""
    interval = Interval(report.wrong_low_pct, report.wrong_high_pct)
    return (
        f"About {format_pct(report.wrong_pct)} {format_interval(interval)} of the labels are wrong "
        "(95 % interval, if wrong labels are as frequent among easy photographs as among others)."
    )


def write_suspects_page(
    report: SuspectReport,
    images: Mapping[str, Image],
    folder: Path,
    *,
    details: Sequence[Detail] = (),
    apply_command: str = "",
    made_by: str = "Written by resnetlab.",
) -> Path:
    """Write suspects.json, suspects.csv and report.html, and return the path of the page.

    Args:
        report: Suspects of a folder.
        images: Photographs to show, by path; the page lists the suspects among them.
        folder: Folder of the page.
        details: Details about the model and the data.
        apply_command: Command that applies the decisions.
        made_by: Sentence on the program.
    """
    write_json(folder / "suspects.json", encode(report))
    rows = [tuple(getattr(item, name) for name in COLUMNS) for item in report.suspects]
    write_path_table(folder / "suspects.csv", COLUMNS, rows)
    page = folder / "report.html"
    write_text(page, render_suspects_page(report, images, details, apply_command, made_by))
    return page


def render_suspects_page(
    report: SuspectReport,
    images: Mapping[str, Image],
    details: Sequence[Detail],
    apply_command: str,
    made_by: str,
) -> str:
    """Return the page as HTML; see `write_suspects_page`.

    Bytes of file names that are not UTF-8 are escaped, as in the file of decisions.
    """
    from markupsafe import Markup, escape

    from resnetlab.reports.render.html import jinja_environment

    environment = jinja_environment()
    loader = environment.loader
    assert loader is not None
    script = loader.get_source(environment, SCRIPT_FILE)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    content = _content(report, details, apply_command, made_by)
    text = environment.get_template("suspects.html").render(
        page=content,
        report=report,
        shown=[item for item in report.suspects if item.path in images],
        images=images,
        data_uri=data_uri,
        pct=format_pct,
        exact=escape,  # of values that the script reads: a page changes the spaces of other texts
        # Our own script, which contains no value; its hash is all that the page may run.
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )
    return escape_undecodable(text)


def _content(
    report: SuspectReport, details: Sequence[Detail], apply_command: str, made_by: str
) -> SuspectsPage:
    count = tr_count(len(report.suspects), "photograph")
    warnings = list(report.notes)
    if report.unjudged:
        listed = ", ".join(report.unjudged[:10]) + (", ..." if report.unjudged[10:] else "")
        alone = tr_count(len(report.unjudged), "photograph")
        warnings.append(f"{alone} not judged, as the only one or group of its class: {listed}")
    return SuspectsPage(
        title=f"{count} of {report.images:,} get another class than their label",
        answer=(
            f"{describe_share(report)} The classifier agrees with "
            f"{format_pct(report.agreement_pct)} of the labels; where it does not, the label may "
            "be right and the photograph hard."
        ),
        warnings=tuple(f"{line}." for line in warnings),
        details=(
            Detail("Network", report.model),
            Detail("Photographs", f"{report.data}: {report.images:,}"),
            *details,
            Detail("Method", METHOD),
        ),
        key=hashlib.sha256(repr((report.data, report.images, report.classes)).encode()).hexdigest(),
        apply_command=apply_command,
        made_by=made_by,
    )
