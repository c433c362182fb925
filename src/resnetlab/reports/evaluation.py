"""Page of an evaluation: accuracy, calibration, confusions and misclassified images.

It contains photographs of the user, so it stays on the user's machine; `results/` contains no such
page.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from resnetlab.checksums import CHECKSUMS, write_checksums
from resnetlab.files import write_json, write_text
from resnetlab.reports import format
from resnetlab.reports.figures.values import csv_text
from resnetlab.schema import encode
from resnetlab.stats.intervals import Interval

if TYPE_CHECKING:
    from PIL.Image import Image

    from resnetlab.deploy.results import EvaluationResult, Proportion

MAX_MATRIX_CLASSES = 16
"""Largest number of classes with a confusion matrix; with more classes the page lists pairs."""
MAX_CONFUSION_PAIRS = 20
OTHER_CLASS = "another class"


class MistakeImages(Protocol):
    """Images of a misclassified photograph."""

    @property
    def image(self) -> Image:
        """Input image of the network."""

    @property
    def heatmap(self) -> Image | None:
        """Heat map on the image; None if the network supports no Grad-CAM."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Confusion matrix: rows are true classes, columns are predicted classes.

    A cell has the count, its share of the row from 0 to 1, and whether the prediction is correct.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, float, bool], ...]], ...]


def render(result: EvaluationResult, images: Mapping[str, MistakeImages]) -> str:
    """Return the page as HTML. `images` has the images of the mistakes to show, by name."""
    from resnetlab.reports.render.html import jinja_environment

    mistakes = [mistake for mistake in result.mistakes if mistake.name in images]
    return (
        jinja_environment()
        .get_template("evaluation.html")
        .render(
            result=result,
            images=images,
            data_uri=_data_uri,
            worst=mistakes,
            matrix=make_confusion_matrix(result),
            pairs=result.confusions[:MAX_CONFUSION_PAIRS],
            format_proportion=format_proportion,
            pct=format.format_pct,
        )
    )


def format_proportion(proportion: Proportion) -> str:
    """Format a share with its interval: `79.0 % [74.7, 82.7]`."""
    return (
        f"{format.format_pct(proportion.pct)} "
        f"{format.format_interval(Interval(proportion.low, proportion.high))}"
    )


def make_confusion_matrix(result: EvaluationResult) -> ConfusionMatrix | None:
    """Return the confusion matrix of the classes, or None if there are too many."""
    names = [row.name for row in result.classes]
    if len(names) > MAX_MATRIX_CLASSES:
        return None
    counts = {(row.name, row.name): row.recall.count for row in result.classes}
    for pair in result.confusions:
        column = pair.predicted if pair.predicted in names else OTHER_CLASS
        counts[pair.true, column] = counts.get((pair.true, column), 0) + pair.images
    columns = (
        (*names, OTHER_CLASS)
        if any(column == OTHER_CLASS for _, column in counts)
        else tuple(names)
    )
    rows = []
    for row in result.classes:
        cells = tuple(
            (
                count := counts.get((row.name, column), 0),
                count / row.recall.images,
                column == row.name,
            )
            for column in columns
        )
        rows.append((row.name, cells))
    return ConfusionMatrix(columns, tuple(rows))


def write(result: EvaluationResult, images: Mapping[str, MistakeImages], folder: Path) -> Path:
    """Write evaluation.json, three CSV files, their checksums and report.html; return its path."""
    (folder / CHECKSUMS).unlink(missing_ok=True)  # a kill leaves files without checksums
    write_json(folder / "evaluation.json", encode(result))
    classes = [
        (
            row.name,
            row.recall.images,
            row.recall.count,
            row.recall.pct,
            row.recall.low,
            row.recall.high,
            row.predicted,
        )
        for row in result.classes
    ]
    columns = ("class", "images", "correct", "recall_pct", "low", "high", "predicted")
    write_text(folder / "classes.csv", csv_text(columns, classes))
    pairs = [(pair.true, pair.predicted, pair.images) for pair in result.confusions]
    write_text(folder / "confusions.csv", csv_text(("true", "predicted", "images"), pairs))
    mistakes = [
        (row.name, row.true, row.predicted, row.probability, row.true_probability)
        for row in result.mistakes
    ]
    write_text(
        folder / "mistakes.csv",
        csv_text(("path", "true", "predicted", "probability", "true_probability"), mistakes),
    )
    write_checksums(folder, ("evaluation.json", "classes.csv", "confusions.csv", "mistakes.csv"))
    page = folder / "report.html"
    write_text(page, render(result, images))
    return page


def _data_uri(image: Image) -> str:
    """Encode an image as a JPEG data URI for a page."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
