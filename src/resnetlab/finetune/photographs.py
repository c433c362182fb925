"""A folder of photographs, cut into train, validation and test; decoded when they are asked for. Free of torch."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.describe import imagenet_overlap
from resnetlab.data.sources import Say, images, silent, strata
from resnetlab.data.sources.decoded import default_workers
from resnetlab.data.sources.folder import DEFAULT_SIDE, manifest_sha256, survey
from resnetlab.data.sources.manifest import Cut, Row, cut_of
from resnetlab.data.spec import Data, DataIdentity, Split
from resnetlab.errors import InputError, Problem, mistake
from resnetlab.finetune.progress import Pulse
from resnetlab.finetune.progress import silent as silent_pulse

VALIDATION_SHARE = 0.15
"""Of the train images, where a folder has no validation split: as much as is cut of a folder without any split."""


Reduction = Callable[[int, int], int]
"""Of a width and a height: at which part of its sides (1, 2, 4 or 8) a photograph is decoded."""

ALBUM_BYTES = 1_500_000_000
"""Of decoded photographs that a process keeps; beyond it they are decoded again."""


class Album:
    """Photographs that were decoded, by place and reduction, up to a bound. They are looked at and never changed."""

    def __init__(self) -> None:
        self.sizes: dict[int, tuple[int, int]] = {}
        self.held: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self.bytes = 0
        self.lock = threading.Lock()

    def keep(self, place: int, reduction: int, photo: NDArray[np.uint8], size: tuple[int, int]) -> None:
        """Keep a photograph if there is room."""
        with self.lock:
            self.sizes[place] = size
            if self.bytes + photo.nbytes <= ALBUM_BYTES and (place, reduction) not in self.held:
                self.held[place, reduction] = photo
                self.bytes += photo.nbytes


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
        with self._told(place):
            return images.decode(self._read(place)).convert("RGB")

    def reduced(self, place: int, reduction: Reduction) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """As `load`, (H, W, 3), decoded at no more of its sides than `reduction` asks for; and its whole width and
        height.

        What was decoded is kept from epoch to epoch, up to ALBUM_BYTES.
        """
        album = self._album
        if place in album.sizes and (kept := album.held.get((place, reduction(*album.sizes[place])))) is not None:
            return kept, album.sizes[place]
        with self._told(place):
            raw = self._read(place)
            size = images.upright_size(raw)
            image = images.decode(raw, reduction(*size))
        photo = np.array(image if image.mode == "RGB" else image.convert("RGB"))
        album.keep(place, reduction(*size), photo, size)
        return photo, size

    @cached_property
    def _album(self) -> Album:
        return Album()

    def _read(self, place: int) -> bytes:
        row = self.rows[place]
        raw = images.read(self.root / row.path)
        if hashlib.sha256(raw).hexdigest() != row.sha256:
            raise images.BadImageError("changed since it was first read")
        return raw

    @contextlib.contextmanager
    def _told(self, place: int) -> Iterator[None]:
        try:
            yield
        except images.BadImageError as error:
            where = f"{self.root}/{self.rows[place].path}"
            raise mistake(where, str(error), "restore it, then give the command again") from None

    def shown(
        self, show: Callable[[Image.Image], NDArray[np.uint8]], pulse: Pulse = silent_pulse
    ) -> NDArray[np.uint8]:  # fmt: skip
        """Every photograph as `show` gives it, (N, H, W, C); all of one shape."""
        held = []
        with images.quiet(), ThreadPoolExecutor(default_workers()) as pool:
            for one in pool.map(lambda place: show(self.load(place)), range(len(self))):
                held.append(one)
                pulse("photographs read", len(held), len(self))
        return np.stack(held)


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

    @property
    def identity(self) -> DataIdentity:
        """As a run has it: the SHA-256 tells of the cut too."""
        return DataIdentity(sha256=self.sha256, validation=0.0)


def load_photographs(data: Data, cache: Path, say: Say = silent) -> Photographs:
    """What a study names as `data`, for a recipe of fine-tuning. Raises InputError."""
    root = Path(data.source)
    if not root.is_dir():
        what = "no folder of photographs, which a recipe of fine-tuning needs"
        fix = "--data DIR; resnetlab data fetch NAME brings stanford-dogs, oxford-pets or flowers"
        raise mistake("data", what, fix, field="source", got=data.source)
    cut = cut_of(data.split or "", "data.split")
    return open_photographs(root, cache=cache, cut=cut, skip_bad=data.skip_bad, say=say)


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
