"""Test outputs of a run: its confusion matrix and its worst mistakes, from the stored logits."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.checksums import check_file
from resnetlab.data.config import DataConfig, Dataset
from resnetlab.data.sources.torchvision_sets import is_download
from resnetlab.data.splits import load_dataset
from resnetlab.errors import InputError
from resnetlab.reports.document import Cell, Table, number_columns, text_columns
from resnetlab.reports.evaluation import MAX_MATRIX_CLASSES, ConfusionMatrix
from resnetlab.reports.format import format_number, format_pct
from resnetlab.runs.paths import LOGITS
from resnetlab.runs.recorded_logits import read_logits
from resnetlab.runs.records import RunFile
from resnetlab.translation import localize_number, tr

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_PAIRS = 10
MAX_MISTAKES = 12
MAX_SIDE = 64
"""Longest side in pixels of the images on a page."""


@dataclass(frozen=True)
class Mistake:
    """Misclassified test image; `image` is a data URI, or empty without the data."""

    index: int
    true: str
    predicted: str
    loss: str
    probability: str
    image: str


@dataclass(frozen=True)
class RunOutputs:
    """Outputs of a run for its test images, in words."""

    matrix: ConfusionMatrix | None
    pairs: Table | None
    """Most frequent confusions, for too many classes for a matrix."""
    mistakes: tuple[Mistake, ...]
    images: int
    wrong: int
    has_images: bool


class ImageLoader:
    """Test images of data sets on this machine, each loaded once. It downloads nothing."""

    def __init__(self, cache: Path) -> None:
        self._cache, self._datasets = cache, dict[DataConfig, Dataset | None]()

    def pixels(self, file: RunFile, labels: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """Return the test images (N, H, W, C) of a run, or None if they are not on this machine."""
        if file.run.kind.uses_photos:
            return None
        if file.data not in self._datasets:
            self._datasets[file.data] = self._load(file.data)
        dataset = self._datasets[file.data]
        if dataset is None or dataset.identity != file.run.data:
            return None
        same = len(labels) == len(dataset.test) and bool((labels == dataset.test.labels).all())
        return dataset.test.pixels if same else None

    def _load(self, data: DataConfig) -> Dataset | None:
        if is_download(data.source):
            return None
        try:
            return load_dataset(data, self._cache)
        except InputError:
            return None


def read_outputs(file: RunFile, folder: Path, images: ImageLoader) -> RunOutputs | None:
    """Return the outputs of a run for its test images, or None if it has no logits.

    Raises InputError if the file of logits is damaged.
    """
    if not (folder / LOGITS).exists() or not file.run.kind.has_probabilities:
        return None
    check_file(folder / LOGITS)
    import numpy as np
    from scipy.special import log_softmax

    recorded = read_logits(folder)
    labels, predicted = recorded.labels, recorded.logits.argmax(1)
    log_probabilities = log_softmax(recorded.logits.astype(np.float64), axis=1)
    count = len(file.classes)
    counts = np.bincount(labels * count + predicted, minlength=count**2).reshape(count, count)
    losses = -log_probabilities[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-losses[wrong], kind="stable")][:MAX_MISTAKES]
    pixels = images.pixels(file, labels) if len(worst) else None
    mistakes = tuple(
        Mistake(
            index=int(index),
            true=file.classes[labels[index]],
            predicted=file.classes[predicted[index]],
            loss=format_number(float(losses[index]), 2),
            probability=format_pct(100 * float(np.exp(log_probabilities[index].max()))),
            image="" if pixels is None else png_uri(pixels[index]),
        )
        for index in worst
    )
    matrix = _matrix(file.classes, counts) if count <= MAX_MATRIX_CLASSES else None
    return RunOutputs(
        matrix,
        _pair_table(file.classes, counts) if len(wrong) and matrix is None else None,
        mistakes,
        len(labels),
        len(wrong),
        pixels is not None,
    )


def _matrix(classes: Sequence[str], counts: NDArray[np.int64]) -> ConfusionMatrix:
    rows = []
    for true, name in enumerate(classes):
        images = max(1, int(counts[true].sum()))
        cells = [
            (int(cell), float(cell) / images, predicted == true)
            for predicted, cell in enumerate(counts[true])
        ]
        rows.append((name, tuple(cells)))
    return ConfusionMatrix(tuple(classes), tuple(rows))


def _pair_table(classes: Sequence[str], counts: NDArray[np.int64]) -> Table:
    pairs = [
        (int(counts[true, predicted]), true, predicted)
        for true in range(len(classes))
        for predicted in range(len(classes))
        if true != predicted and counts[true, predicted]
    ]
    pairs.sort(key=lambda pair: (-pair[0], *pair[1:]))
    columns = (*text_columns("True class", "Predicted class"), *number_columns("Images"))
    rows = tuple(
        (Cell(classes[true]), Cell(classes[predicted]), Cell(localize_number(f"{images:,}")))
        for images, true, predicted in pairs[:MAX_PAIRS]
    )
    note = ""
    if len(pairs) > len(rows):
        note = tr(
            "The {count} most frequent of {total:,} pairs.", count=len(rows), total=len(pairs)
        )
    return Table("pairs", columns, rows, note)


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Encode an image (H, W, C) of 1 or 3 channels as a PNG data URI, at most `MAX_SIDE` large."""
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
