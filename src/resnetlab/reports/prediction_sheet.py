"""Contact sheet of predictions: thumbnails by predicted class, the least sure first, as one page.

It contains photographs of the user, so it stays on the user's machine.
"""

from __future__ import annotations

import io
import os
from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from PIL import Image

from resnetlab.data.class_names import class_titles
from resnetlab.data.photo_loader import LazyImage
from resnetlab.deploy.answer_texts import UNSURE_PROBABILITY, AnswerKind, answer_kind
from resnetlab.files import write_text
from resnetlab.reports.format import format_pct
from resnetlab.translation import tr_count

THUMBNAIL_PIXELS = 240
"""Longest side of a thumbnail in pixels."""

MAX_PHOTOGRAPHS = 2000
"""Number of photographs on a sheet; of more, the least sure ones."""

UNCLEAR_TITLES: dict[AnswerKind, str] = {
    "none of these": "None of these",
    "several classes": "Several classes",
    "no class": "No class is probable enough",
}
"""Titles of the groups of photographs without one class; these groups are first."""


class SheetAnswer(Protocol):
    """Predicted class with its probability, 0 to 1."""

    @property
    def label(self) -> str:
        """Name of the class."""

    @property
    def probability(self) -> float:
        """Probability of the class."""


class SheetPrediction(Protocol):
    """Prediction for a photograph; see `deploy.predict`, which imports torch."""

    @property
    def name(self) -> str:
        """Name of the photograph."""

    @property
    def answer(self) -> SheetAnswer:
        """Class of a prediction set of one class, else the most probable class."""

    @property
    def prediction_set(self) -> tuple[str, ...] | None:
        """Prediction set; None without a coverage."""

    @property
    def none_of_these(self) -> bool | None:
        """True for a photograph unlike the training photographs; None if unknown."""


@dataclass(frozen=True)
class SheetPhoto:
    """Photograph on a sheet: its name, its most probable class, and the probability of that."""

    name: str
    path: str
    """Path below the folder that contains all photographs of the sheet."""
    group: str
    label: str
    probability: float
    unsure: bool
    """True if the other classes are more probable together."""


@dataclass(frozen=True)
class SheetGroup:
    """Photographs of one predicted class, the least sure first."""

    title: str
    count: int
    """Number of photographs, also of those that are left out."""
    photos: tuple[SheetPhoto, ...]


def with_thumbnail(image: LazyImage, thumbnails: dict[str, bytes]) -> LazyImage:
    """Return the image; when it is decoded, its thumbnail is added to `thumbnails` as a JPEG."""

    def load() -> Image.Image:
        photograph = image.load()
        thumbnail = photograph.convert("RGB")
        thumbnail.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        file = io.BytesIO()
        thumbnail.save(file, "JPEG", quality=80)
        thumbnails[image.name] = file.getvalue()
        return photograph

    return LazyImage(image.name, load, image.path)


def group_predictions(predictions: Sequence[SheetPrediction]) -> list[SheetGroup]:
    """Return the photographs by predicted class, at most MAX_PHOTOGRAPHS of them."""
    labels = sorted({item.answer.label for item in predictions})
    title = class_titles(labels)
    folder = _common_folder(predictions)
    photos = sorted(
        (_sheet_photo(item, title, folder) for item in predictions),
        key=lambda photo: (photo.probability, photo.name),
    )
    count: dict[str, int] = defaultdict(int)
    for photo in photos:
        count[photo.group] += 1
    by_group: dict[str, list[SheetPhoto]] = defaultdict(list)
    for photo in photos[:MAX_PHOTOGRAPHS]:
        by_group[photo.group].append(photo)
    first = [name for name in UNCLEAR_TITLES.values() if name in count]
    names = [*first, *sorted(set(count) - set(first), key=str.casefold)]
    return [SheetGroup(name, count[name], tuple(by_group[name])) for name in names]


def _common_folder(predictions: Sequence[SheetPrediction]) -> str:
    """Return the folder that contains all photographs, or "" without one."""
    try:
        return os.path.commonpath([PurePath(item.name).parent for item in predictions])
    except ValueError:  # absolute and relative paths, or two drives
        return ""


def _sheet_photo(item: SheetPrediction, title: Mapping[str, str], folder: str) -> SheetPhoto:
    kind = answer_kind(item.prediction_set, item.none_of_these)
    label = title[item.answer.label]
    unsure = kind == "class" and item.answer.probability < UNSURE_PROBABILITY
    group = label if kind == "class" else UNCLEAR_TITLES[kind]
    path = os.path.relpath(item.name, folder) if folder else item.name
    return SheetPhoto(item.name, path, group, label, item.answer.probability, unsure)


def write_prediction_sheet(
    predictions: Sequence[SheetPrediction],
    thumbnails: Mapping[str, bytes],
    path: Path,
    *,
    model: str,
    license: str,
    made_by: str = "Written by resnetlab.",
) -> Path:
    """Write the sheet as one HTML file without scripts, and return its path.

    Args:
        predictions: Predictions of photographs.
        thumbnails: JPEG file of each photograph, by its name; see `with_thumbnail`.
        path: Path of the page.
        model: Name of the model.
        license: License of its weights.
        made_by: Sentence on the program.
    """
    from resnetlab.reports.render.html import jinja_environment

    groups = group_predictions(predictions)
    page = (
        jinja_environment()
        .get_template("prediction_sheet.html")
        .render(
            model=model,
            license=license,
            total=tr_count(len(predictions), "photograph"),
            shown=sum(len(group.photos) for group in groups),
            count=len(predictions),
            groups=groups,
            pct=format_pct,
            source=lambda name: f"data:image/jpeg;base64,{b64encode(thumbnails[name]).decode()}",
            made_by=made_by,
        )
    )
    write_text(path, page)
    return path
