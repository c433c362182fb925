"""Contact sheet: a picture with rows of images, such as one row for each class of a data set.

Free of torch.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.config import Source

MAX_CLASSES = 50
"""Largest number of classes in the sheet of a data set."""
MAX_LABEL_CHARACTERS = 32
TILE_INCHES, GAP_SHARE, CHARACTER_INCHES = 0.55, 0.06, 0.075
"""Side of a tile, gap between tiles as a share of it, and width of a character of a label."""


@dataclass(frozen=True)
class SheetRow:
    """Row of a contact sheet: a label, and images (H, W, C) uint8."""

    label: str
    images: Sequence[NDArray[np.uint8]]


def class_rows(source: Source, per_class: int) -> list[SheetRow]:
    """Return a row for each class with its first train images, at most `MAX_CLASSES` rows."""
    rows = []
    for label, name in enumerate(source.classes[:MAX_CLASSES]):
        numbers = np.flatnonzero(source.train.labels == label)
        rows.append(SheetRow(name, [source.train.pixels[n] for n in numbers[:per_class]]))
    return rows


def count_rows(source: Source, rows: Sequence[SheetRow]) -> list[dict[str, int | str]]:
    """Return the number of images by class, and how many of them the sheet shows."""
    splits = {"train": source.train, "validation": source.validation, "test": source.test}
    counts = []
    for label, row in enumerate(rows):
        count: dict[str, int | str] = {"class": row.label}
        for split, images in splits.items():
            if images is not None:
                count[split] = int(np.sum(images.labels == label))
        counts.append(count | {"shown": len(row.images)})
    return counts


def describe_source(source: Source) -> str:
    """Return a sentence: the number and the size of the images, and the images of a class."""
    counts = np.bincount(source.train.labels, minlength=len(source.classes))
    least, most = int(counts.min()), int(counts.max())
    size = "x".join(map(str, source.train.pixels.shape[1:]))
    by_class = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return (
        f"{source.name}: {len(source.train):,} train and {len(source.test):,} test images of "
        f"{size} in {len(source.classes)} classes, {by_class} train images of each class."
    )


def render_contact_sheet(
    rows: Sequence[SheetRow], title: str, columns: Sequence[str] = ()
) -> bytes:
    """Return a PNG of the rows of images, with a label beside each row and above each column.

    A smaller image is centered in its tile.
    """
    import matplotlib as mpl

    side = max(max(image.shape[:2]) for row in rows for image in row.images)
    count = max(len(row.images) for row in rows)
    pitch = side + max(1, round(GAP_SHARE * side))
    sheet = np.full((len(rows) * pitch, count * pitch, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        for column, image in enumerate(row.images):
            height, width = image.shape[:2]
            top = number * pitch + (side - height) // 2
            left = column * pitch + (side - width) // 2
            sheet[top : top + height, left : left + width] = image  # gray becomes three channels
    labels = [row.label[:MAX_LABEL_CHARACTERS] for row in rows]
    left_inches = 0.2 + CHARACTER_INCHES * max(map(len, labels))
    slanted = CHARACTER_INCHES * max(map(len, columns), default=0)  # labels above the columns
    width_inches = max(left_inches + TILE_INCHES * count + slanted, CHARACTER_INCHES * len(title))
    below, above = 0.1, 0.45 + 0.6 * slanted
    height_inches = TILE_INCHES * len(rows) + above + below
    with mpl.rc_context({"font.size": 9, "font.family": "DejaVu Sans", "text.parse_math": False}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width_inches, height_inches), dpi=144)
        FigureCanvasAgg(figure)
        ax = figure.add_axes(
            (
                left_inches / width_inches,
                below / height_inches,
                TILE_INCHES * count / width_inches,
                TILE_INCHES * len(rows) / height_inches,
            )
        )
        ax.imshow(sheet, interpolation="nearest", aspect="auto")
        centers = np.arange(max(count, len(rows))) * pitch + (side - 1) / 2
        ax.set_yticks(centers[: len(rows)], labels)
        ax.set_xticks(centers[: len(columns)], columns, rotation=30, ha="left")
        ax.tick_params(length=0, labelbottom=False, labeltop=bool(columns))
        ax.spines[:].set_visible(False)
        figure.text(0.1 / width_inches, 1 - 0.26 / height_inches, title, fontsize=10)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
