"""A folder of photographs, cut into train, validation and test; decoded when they are asked for. Free of torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.describe import imagenet_overlap
from resnetlab.data.sources import Say, images, silent, strata
from resnetlab.data.sources.decoded import default_workers
from resnetlab.data.sources.folder import DEFAULT_SIDE, manifest_sha256, survey
from resnetlab.data.sources.manifest import Cut, Row
from resnetlab.data.spec import Split
from resnetlab.errors import InputError, Problem, mistake

VALIDATION_SHARE = 0.15
"""Of the train images, where a folder has no validation split: as much as is cut of a folder without any split."""


@dataclass(frozen=True)
class Part:
    """The photographs of a split: where each lies, its class as a number (N,), and the SHA-256 of its file."""

    root: Path
    rows: tuple[Row, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, place: int) -> Image.Image:
        """The decoded photograph at `place`, RGB. Raises InputError when it is no longer what was read before."""
        row = self.rows[place]
        try:
            raw = images.read(self.root / row.path)
            if hashlib.sha256(raw).hexdigest() != row.sha256:
                raise images.BadImageError("changed since it was first read")
            return images.decode(raw).convert("RGB")
        except images.BadImageError as error:
            raise mistake(f"{self.root}/{row.path}", str(error), "restore it, then give the command again") from None

    def shown(self, show: Callable[[Image.Image], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Every photograph as `show` gives it, (N, H, W, C); all of one shape."""
        with images.quiet(), ThreadPoolExecutor(default_workers()) as pool:
            return np.stack(list(pool.map(lambda place: show(self.load(place)), range(len(self)))))


@dataclass(frozen=True)
class Photographs:
    """A folder, cut. The test split is reported and never chooses."""

    name: str
    root: Path
    classes: tuple[str, ...]
    train: Part
    validation: Part
    test: Part
    sha256: str
    """Of the classes and of each image's path, class, split and content."""
    notes: tuple[str, ...]
    overlap: str
    """A warning where a known pre-training set holds the images; else empty."""
    chance: float
    """Share of the largest class among the test images."""


def open_photographs(
    root: Path, *, cache: Path, cut: Cut | Path | None = None, skip_bad: bool = False, say: Say = silent
) -> Photographs:
    """The photographs in a folder. Raises InputError with every mistake found; bad files are one unless `skip_bad`."""
    if not root.is_dir():
        raise mistake(str(root), "no such folder", "give a folder of photographs, in folders of classes")
    found = survey(root, image_size=DEFAULT_SIDE, cache=cache, say=say, skip_bad=skip_bad, cut=cut)
    notes = [note for note in found.notes if "resized to" not in note]  # said of the squares of a training run
    rows = found.rows
    if not any(row.split == "validation" for row in rows):
        rows = _with_validation(rows, found.classes, str(root))
        notes.append(f"{root} has no validation split: {VALIDATION_SHARE:.0%} of train were set apart, by class")
    number = {name: k for k, name in enumerate(found.classes)}

    def part(split: Split) -> Part:
        chosen = tuple(row for row in rows if row.split == split)
        return Part(root, chosen, np.array([number[row.label] for row in chosen], np.int64))

    train, validation, test = part("train"), part("validation"), part("test")
    _need(root, found.classes, train, validation)
    sha256 = manifest_sha256(replace(found, rows=rows))
    chance = float(np.bincount(test.labels).max()) / len(test)
    name = root.resolve().name
    overlap = imagenet_overlap(found.classes)
    return Photographs(name, root, found.classes, train, validation, test, sha256, tuple(notes), overlap, chance)


def _with_validation(rows: Sequence[Row], classes: tuple[str, ...], where: str) -> tuple[Row, ...]:
    train = [place for place, row in enumerate(rows) if row.split == "train"]
    labels = np.array([classes.index(rows[place].label) for place in train], np.int64)
    total = max(1, round(VALIDATION_SHARE * len(train)))
    fix = "add images of each class, or give a validation split"
    drawn = strata.draw(labels, classes, total, "validation", 0, where=where, fix=fix)
    chosen = {place for place, apart in zip(train, drawn, strict=True) if apart}
    return tuple(replace(row, split="validation") if place in chosen else row for place, row in enumerate(rows))


def _need(root: Path, classes: tuple[str, ...], train: Part, validation: Part) -> None:
    """Raise InputError where a class has no image to learn from, or validation none at all."""
    without = [name for k, name in enumerate(classes) if not (train.labels == k).any()]
    fix = "add train images, or leave the class out"
    problems = [Problem(str(root), f'class "{name}" has no train image', fix) for name in without]
    if not len(validation):
        problems.append(Problem(str(root), "no validation images", "give a share of them: --split .6,.2,.2"))
    if problems:
        raise InputError(*problems)
