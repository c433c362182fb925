"""Page of an evaluation: accuracy, calibration, confusions and misclassified images.

It contains photographs of the user, so it stays on the user's machine; `results/` contains no such
page.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from resnetlab.checksums import CHECKSUMS, write_checksums
from resnetlab.data.class_names import class_titles
from resnetlab.files import write_json, write_text
from resnetlab.reports import confidence, format
from resnetlab.reports.document import Cell, Table, number_columns, text_columns
from resnetlab.reports.figures.values import csv_text
from resnetlab.schema import encode
from resnetlab.stats.intervals import Interval
from resnetlab.translation import Language, Message, deferred, localize_number, tr, use_language

if TYPE_CHECKING:
    from PIL.Image import Image

    from resnetlab.deploy.results import ModelEvaluation
    from resnetlab.stats.proportion import Proportion

MAX_MATRIX_CLASSES = 16
"""Largest number of classes with a confusion matrix; with more classes the page lists pairs."""
MAX_CONFUSION_PAIRS = 20
MAX_LISTED_CLASSES = 200
"""Number of classes on a page, those with the lowest accuracy; classes.csv has all."""
MADE_BY = Message("Written by {author}.", {"author": "resnetlab"})
OTHER_CLASS = deferred("another class")


class MistakeImages(Protocol):
    """Images of a misclassified photograph."""

    @property
    def image(self) -> Image:
        """Input image of the network."""

    @property
    def heat_map(self) -> Image | None:
        """Heat map on the image; None if the network supports no Grad-CAM."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Confusion matrix: rows are true classes, columns are predicted classes.

    A cell has the count, its share of the row from 0 to 1, and whether the prediction is correct.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, float, bool], ...]], ...]


@dataclass(frozen=True)
class ClassRow:
    """Row of a class on a page."""

    name: str
    recall: Proportion | None
    """Share of its images that are classified correctly; None without an image."""
    predicted: int
    """Number of images for which the model predicts the class."""
    precision: Proportion | None = None
    """Share of these images that belong to the class; None if there are none."""
    f1_pct: float | None = None
    roc_auc: float | None = None
    average_precision: float | None = None
    train_images: int | None = None
    """Number of its train images; None if the page does not know it."""


def render_evaluation_page(
    result: ModelEvaluation,
    images: Mapping[str, MistakeImages],
    *,
    command: str = "",
    made_by: Message = MADE_BY,
) -> str:
    """Return the page as HTML. `images` has the images of the mistakes to show, by name."""
    from resnetlab.reports.render.html import jinja_environment

    template = jinja_environment().get_template("evaluation.html")
    return template.render(command=command, made_by=made_by, **page_values(result, images))


def page_values(
    result: ModelEvaluation,
    images: Mapping[str, MistakeImages],
    train_images: Mapping[str, int] | None = None,
) -> dict[str, object]:
    """Return the values that the parts of a page about an evaluation need, by name.

    `train_images` has the number of train images of each class, if the page is to show it.
    """
    titled, train_images = with_class_titles(result, train_images)
    return {
        "result": titled,
        "images": images,
        "data_uri": data_uri,
        "worst": [mistake for mistake in titled.mistakes if mistake.name in images],
        "matrix": make_confusion_matrix(titled),
        "pairs": _pair_table(titled),
        "class_rows": class_rows(titled, train_images)[:MAX_LISTED_CLASSES],
        "confidence_details": confidence.confidence_details(titled),
        "answered_table": confidence.answered_table(titled),
        "answered_plot": confidence.answered_plot(titled),
        "format_proportion": format_proportion,
        "pct": format.format_pct,
        "count": lambda number: localize_number(f"{number:,}"),
        "decimal": format.format_number,
    }


def with_class_titles(
    result: ModelEvaluation, train_images: Mapping[str, int] | None
) -> tuple[ModelEvaluation, Mapping[str, int] | None]:
    """Return a result and the train images by class with titles of classes, which a page shows."""
    pairs, mistakes = result.confusions, result.mistakes
    names = {row.name for row in result.classes} | {*(train_images or ())}
    names |= {name for pair in pairs for name in (pair.true, pair.predicted)}
    names |= {name for item in mistakes for name in (item.label, item.predicted)}
    title = class_titles(sorted(names))
    titled = replace(
        result,
        classes=tuple(replace(row, name=title[row.name]) for row in result.classes),
        confusions=tuple(
            replace(pair, true=title[pair.true], predicted=title[pair.predicted]) for pair in pairs
        ),
        mistakes=tuple(
            replace(item, label=title[item.label], predicted=title[item.predicted])
            for item in mistakes
        ),
    )
    by_title = {title[name]: count for name, count in (train_images or {}).items()}
    return titled, by_title if train_images is not None else None


def class_rows(
    result: ModelEvaluation, train_images: Mapping[str, int] | None = None
) -> list[ClassRow]:
    """Return the rows of the classes: those without an image first, then by accuracy."""
    rows = [
        ClassRow(
            name=row.name,
            recall=row.recall,
            predicted=row.predicted,
            precision=row.precision,
            f1_pct=row.f1_pct,
            roc_auc=row.roc_auc,
            average_precision=row.average_precision,
            train_images=(train_images or {}).get(row.name),
        )
        for row in sorted(result.classes, key=lambda row: (row.recall.pct, row.name))
    ]
    evaluated = {row.name for row in result.classes}
    untested = [name for name in train_images or () if name not in evaluated]
    predicted = Counter(pair.predicted for pair in result.confusions for _ in range(pair.images))
    return [
        *(
            ClassRow(name, None, predicted[name], train_images=(train_images or {})[name])
            for name in untested
        ),
        *rows,
    ]


def _pair_table(result: ModelEvaluation) -> Table:
    """Return the table of the most frequent confusions."""
    pairs = result.confusions[:MAX_CONFUSION_PAIRS]
    note = ""
    if len(pairs) < len(result.confusions):
        note = tr(
            "The {count} most frequent of {total:,} pairs; confusions.csv has all pairs.",
            count=len(pairs),
            total=len(result.confusions),
        )
    columns = (*text_columns("True class", "Predicted class"), *number_columns("Images"))
    rows = tuple(
        (Cell(p.true), Cell(p.predicted), Cell(localize_number(f"{p.images:,}"))) for p in pairs
    )
    return Table("pairs", columns, rows, note)


def format_proportion(proportion: Proportion) -> str:
    """Format a share with its interval: `79.0 % [74.7, 82.7]`."""
    return (
        f"{format.format_pct(proportion.pct)} "
        f"{format.format_interval(Interval(proportion.low, proportion.high))}"
    )


def make_confusion_matrix(result: ModelEvaluation) -> ConfusionMatrix | None:
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
    titles = tuple(tr(OTHER_CLASS) if name is OTHER_CLASS else name for name in columns)
    return ConfusionMatrix(titles, tuple(rows))


def write_evaluation_page(
    result: ModelEvaluation,
    images: Mapping[str, MistakeImages],
    folder: Path,
    *,
    command: str = "",
    made_by: Message = MADE_BY,
    language: Language = "en",
) -> Path:
    """Write evaluation.json, three CSV files, their checksums and report.html; return its path.

    Only the page is in `language`.
    """
    write_tables(result, folder)
    page = folder / "report.html"
    with use_language(language):
        write_text(page, render_evaluation_page(result, images, command=command, made_by=made_by))
    return page


def write_tables(result: ModelEvaluation, folder: Path, more: Sequence[str] = ()) -> None:
    """Write evaluation.json and three CSV files, and the checksums of these and of `more`."""
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
            row.precision.pct if row.precision else None,
            row.f1_pct,
            row.roc_auc,
            row.average_precision,
        )
        for row in result.classes
    ]
    columns = (
        *("class", "images", "correct", "recall_pct", "low", "high", "predicted"),
        *("precision_pct", "f1_pct", "roc_auc", "average_precision"),
    )
    write_text(folder / "classes.csv", csv_text(columns, classes))
    pairs = [(pair.true, pair.predicted, pair.images) for pair in result.confusions]
    write_text(folder / "confusions.csv", csv_text(("true", "predicted", "images"), pairs))
    mistakes = [
        (row.name, row.label, row.predicted, row.probability, row.label_probability)
        for row in result.mistakes
    ]
    write_text(
        folder / "mistakes.csv",
        csv_text(("path", "label", "predicted", "probability", "label_probability"), mistakes),
    )
    tables = ("evaluation.json", "classes.csv", "confusions.csv", "mistakes.csv")
    write_checksums(folder, (*more, *tables))


def data_uri(image: Image) -> str:
    """Encode an image as a JPEG data URI for a page."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
