"""The page of an evaluation: accuracy, calibration, confusions, and the pictures that are told wrong.

It holds photographs of whoever ran it, so it is a local page: `results/` holds none of these.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.files import write_json, write_text
from resnetlab.reports import format
from resnetlab.reports.figures.values import csv_text
from resnetlab.schema import encode
from resnetlab.stats.intervals import Interval

if TYPE_CHECKING:
    from PIL.Image import Image

    from resnetlab.deploy.results import Evaluated, Share

MATRIX_CLASSES = 16
"""Up to which the confusion matrix is drawn whole; beyond it, the pairs are listed."""
PAIRS = 20
OTHERS = "another class"


@dataclass(frozen=True)
class Shots:
    """Data URIs of a picture as the network saw it, and of the heat on it (empty where there is none)."""

    photo: str
    heat: str = ""


@dataclass(frozen=True)
class Matrix:
    """Counts by true class (rows) and by what the model says (columns); `shade` from 0 to 1 within a row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, float, bool], ...]], ...]


def render(found: Evaluated, shots: Mapping[str, Shots]) -> str:
    """The page; `shots` by the name of the picture, for the mistakes that are shown."""
    from resnetlab.reports.render.html import environment

    shown = [one for one in found.mistakes if one.name in shots]
    return environment().get_template("evaluation.html").render(
        found=found, shots=shots, shown=shown, matrix=matrix(found), pairs=found.confusions[:PAIRS], said=said,
        pct=format.pct,
    )  # fmt: skip


def said(share: Share) -> str:
    """`79.0 % [74.7, 82.7]`."""
    return f"{format.pct(share.pct)} {format.span(Interval(share.low, share.high))}"


def matrix(found: Evaluated) -> Matrix | None:
    """The confusion matrix over the classes of the data; None when they are too many to read."""
    names = [one.name for one in found.classes]
    if len(names) > MATRIX_CLASSES:
        return None
    counts = {(one.name, one.name): one.recall.count for one in found.classes}
    for pair in found.confusions:
        column = pair.said if pair.said in names else OTHERS
        counts[pair.true, column] = counts.get((pair.true, column), 0) + pair.images
    columns = (*names, OTHERS) if any(column == OTHERS for _, column in counts) else tuple(names)
    rows = []
    for one in found.classes:
        cells = tuple(
            (count := counts.get((one.name, column), 0), count / one.recall.images, column == one.name)
            for column in columns
        )
        rows.append((one.name, cells))
    return Matrix(columns, tuple(rows))


def write(found: Evaluated, shots: Mapping[str, Shots], folder: Path) -> Path:
    """Write evaluation.json, classes.csv, confusions.csv, mistakes.csv and report.html; the path of the page."""
    write_json(folder / "evaluation.json", encode(found))
    classes = [
        (one.name, one.recall.images, one.recall.count, one.recall.pct, one.recall.low, one.recall.high, one.named)
        for one in found.classes
    ]
    columns = ("class", "images", "right", "recall_pct", "low", "high", "called_so")
    write_text(folder / "classes.csv", csv_text(columns, classes))
    pairs = [(pair.true, pair.said, pair.images) for pair in found.confusions]
    write_text(folder / "confusions.csv", csv_text(("true", "said", "images"), pairs))
    mistakes = [(one.name, one.true, one.said, one.probability, one.true_probability) for one in found.mistakes]
    write_text(folder / "mistakes.csv", csv_text(("path", "true", "said", "probability", "true_probability"), mistakes))
    page = folder / "report.html"
    write_text(page, render(found, shots))
    return page


def data_uri(picture: Image) -> str:
    """A picture inside a page, as JPEG."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
