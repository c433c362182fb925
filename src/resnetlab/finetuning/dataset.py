"""Photograph data set: a folder, split into train, validation and test, and decoded on access.

Free of torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.class_names import class_indices
from resnetlab.data.config import (
    DEFAULT_FOLDER_CHOICES,
    DataConfig,
    DataIdentity,
    FolderChoices,
    Split,
)
from resnetlab.data.photo_loader import LazyImage, load_batches
from resnetlab.data.sources import fast_jpeg, image_decoder
from resnetlab.data.sources.folder.manifest import ManifestRow, SplitSpec, parse_split
from resnetlab.data.sources.folder.scan import (
    DEFAULT_IMAGE_SIZE,
    FIND_DAMAGE,
    FolderScan,
    folder_sha256,
    scan_folder,
)
from resnetlab.data.summary import imagenet_overlap
from resnetlab.errors import InputError, Problem, input_error
from resnetlab.finetuning.photo_splits import choose_splits
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.stats.chance import largest_class_share

Reduction = Callable[[int, int], int]
"""Function of width and height that returns the factor (1, 2, 4 or 8) by which decoding reduces the
sides.
"""

IMAGE_CACHE_BYTES = 1_500_000_000
"""Maximum size of the cache of decoded photographs of a process. Others are decoded again."""


class DecodedImageCache:
    """Cache of decoded photographs by index and reduction, up to a size limit.

    Callers must not change the arrays.
    """

    def __init__(self) -> None:
        self.sizes: dict[int, tuple[int, int]] = {}
        self.arrays: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self.total_bytes = 0
        self.lock = threading.Lock()

    def add(
        self, index: int, reduction: int, photo: NDArray[np.uint8], size: tuple[int, int]
    ) -> None:
        """Add a photograph if the cache has room."""
        with self.lock:
            self.sizes[index] = size
            if (
                self.total_bytes + photo.nbytes <= IMAGE_CACHE_BYTES
                and (index, reduction) not in self.arrays
            ):
                self.arrays[index, reduction] = photo
                self.total_bytes += photo.nbytes


@dataclass(frozen=True)
class PhotoSplit:
    """Split of a photograph data set: the path, class index (N,) and SHA-256 of each photograph."""

    root: Path
    rows: tuple[ManifestRow, ...]
    labels: NDArray[np.int64]
    follow_links: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def take_evenly(self, counts: NDArray[np.int64]) -> PhotoSplit:
        """Return `counts[k]` photographs of each class k, or all, evenly spaced in their order."""
        chosen = evenly_spaced_indices(self.labels, counts)
        rows = tuple(self.rows[index] for index in chosen)
        return replace(self, rows=rows, labels=self.labels[chosen])

    def load(self, index: int) -> Image.Image:
        """Decode the photograph at `index` as RGB.

        Raises InputError if its file is damaged or has changed.
        """
        with self._with_path(index):
            return image_decoder.decode(self._read(index)).convert("RGB")

    def load_reduced(
        self, index: int, reduction: Reduction
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Decode the photograph at `index` with sides reduced by the factor that `reduction`
        returns.

        A cache keeps decoded photographs from epoch to epoch, up to IMAGE_CACHE_BYTES. Raises
        InputError like `load`.

        Returns:
            The photograph (H, W, 3), and the full width and height.
        """
        cache = self.image_cache
        if (
            index in cache.sizes
            and (cached := cache.arrays.get((index, reduction(*cache.sizes[index])))) is not None
        ):
            return cached, cache.sizes[index]
        with self._with_path(index):
            raw = self._read(index)
            size = image_decoder.upright_size(raw)
            photo = image_decoder.decode_rgb(raw, reduction(*size))
        cache.add(index, reduction(*size), photo, size)
        return photo, size

    @cached_property
    def image_cache(self) -> DecodedImageCache:
        """Cache of decoded photographs, which `load_reduced` fills and reads."""
        return DecodedImageCache()

    def _read(self, index: int) -> bytes:
        row = self.rows[index]
        raw = image_decoder.read_bytes(self.root / row.path, follow_links=self.follow_links)
        if hashlib.sha256(raw).hexdigest() != row.sha256:
            raise image_decoder.BadImageError("changed since it was first read")
        return raw

    @contextlib.contextmanager
    def _with_path(self, index: int) -> Iterator[None]:
        try:
            yield
        except image_decoder.BadImageError as error:
            path = f"{self.root}/{self.rows[index].path}"
            raise input_error(path, str(error), "restore it, then repeat the command") from None

    @property
    def images(self) -> list[LazyImage]:
        """Photographs; loading one raises InputError if it is damaged or has changed."""
        return [LazyImage(row.path, partial(self.load, k)) for k, row in enumerate(self.rows)]

    def stack(
        self,
        transform: Callable[[Image.Image], NDArray[np.uint8]],
        on_item: ItemCallback = silent,
    ) -> NDArray[np.uint8]:
        """Load all photographs and return their transformed pixels (N, H, W, C) uint8."""
        arrays: list[NDArray[np.uint8]] = []
        for batch in load_batches(self.images, transform):
            arrays += [loaded.pixels for loaded in batch if loaded.pixels is not None]
            on_item("photographs read", len(arrays), len(self))
        return np.stack(arrays)


def evenly_spaced_indices(labels: NDArray[np.int64], counts: NDArray[np.int64]) -> list[int]:
    """Return indices of `counts[k]` images of each class k, or of all, evenly spaced in order.

    Args:
        labels: Classes (N,) of the images.
        counts: Number of images of each class (K,).
    """
    chosen: list[int] = []
    for label, count in enumerate(counts.tolist()):
        indices = np.flatnonzero(labels == label)
        positions = np.linspace(0, len(indices) - 1, min(count, len(indices)))
        chosen += indices[positions.round().astype(np.int64)].tolist()
    return chosen


@dataclass(frozen=True)
class PhotoDataset:
    """Photograph data set with its three splits. The test split never selects a model."""

    name: str
    root: Path
    classes: tuple[str, ...]
    train: PhotoSplit
    validation: PhotoSplit
    test: PhotoSplit
    sha256: str
    """Hash of the classes and of the path, class, split and content of each image."""
    notes: tuple[str, ...]
    pretraining_overlap: str
    """Warning if a known pre-training set contains the images; otherwise empty."""
    class_share: float
    """Fraction of the largest class among the test images."""
    has_test: bool = True
    """False if `test` has the validation images, because all others are for training."""

    @property
    def untested_classes(self) -> tuple[str, ...]:
        """Classes without a test image."""
        tested = set(self.test.labels.tolist())
        return tuple(name for index, name in enumerate(self.classes) if index not in tested)

    @property
    def identity(self) -> DataIdentity:
        """Identity of the data for a run. The SHA-256 covers the split too."""
        return DataIdentity(sha256=self.sha256, validation=0.0)


def load_photographs(data: DataConfig, cache: Path, notify: Notify = silent) -> PhotoDataset:
    """Load the photographs that a study names as `data`, for a fine-tuning recipe.

    Raises InputError if the folder has too few photographs or cannot be read.
    """
    root = Path(data.source)
    if not root.is_dir():
        message = "not a folder of photographs, which a fine-tuning recipe needs"
        fix = "--data DIR; resnetlab data fetch NAME brings stanford-dogs, oxford-pets or flowers"
        raise input_error("data", message, fix, field="source", got=data.source)
    split_spec = parse_split(data.split or "", "data.split")
    return open_photographs(
        root,
        cache=cache,
        split_spec=split_spec,
        skip_bad=data.skip_bad,
        folds=data.folds,
        fold=data.fold,
        folder_choices=data.folder_choices,
        notify=notify,
    )


def open_photographs(
    root: Path,
    *,
    cache: Path,
    split_spec: SplitSpec | Path | None = None,
    skip_bad: bool = False,
    no_test: bool = False,
    folds: int | None = None,
    fold: int = 0,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    notify: Notify = silent,
) -> PhotoDataset:
    """Open a folder of photographs and split it.

    With `folds`, the images are divided into that many parts by class, and part `fold` is the test
    split. With `no_test`, no images are set apart for a test split, and `test` has the validation
    images. Raises InputError with every mistake. Damaged files are mistakes unless `skip_bad` is
    set.
    """
    scan = _scan(root, cache, split_spec, skip_bad, folder_choices, notify)
    follow_links = folder_choices.follow_links != "no"
    return _split_scan(scan, split_spec, follow_links, no_test=no_test, folds=folds, fold=fold)


def check_all_folds(
    root: Path,
    folds: int,
    *,
    cache: Path,
    skip_bad: bool = False,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    notify: Notify = silent,
) -> None:
    """Check every fold of a folder of photographs. The folder is read once.

    Raises InputError like `open_photographs`, if it would for any of the folds.
    """
    scan = _scan(root, cache, None, skip_bad, folder_choices, notify)
    for fold in range(folds):
        _split_scan(scan, None, False, folds=folds, fold=fold)


def _scan(
    root: Path,
    cache: Path,
    split_spec: SplitSpec | Path | None,
    skip_bad: bool,
    folder_choices: FolderChoices,
    notify: Notify,
) -> FolderScan:
    """Read the files of a folder. Raises InputError with every mistake."""
    if not root.is_dir():
        raise input_error(
            str(root), "no such folder", "give a folder of photographs, with a folder per class"
        )
    if note := fast_jpeg.fallback_note():
        notify(f"note: {note}")
    return scan_folder(
        root,
        image_size=DEFAULT_IMAGE_SIZE,
        cache=cache,
        notify=notify,
        skip_bad=skip_bad,
        split=split_spec,
        folder_choices=folder_choices,
        purpose=FIND_DAMAGE,
    )


def _split_scan(
    scan: FolderScan,
    split_spec: SplitSpec | Path | None,
    follow_links: bool,
    *,
    no_test: bool = False,
    folds: int | None,
    fold: int,
) -> PhotoDataset:
    """Split the photographs of a scan. Raises InputError if a split has too few of them."""
    root = scan.root
    rows, notes = choose_splits(scan, split_spec, no_test=no_test, folds=folds, fold=fold)
    index_of = class_indices(scan.classes)

    def part(split: Split) -> PhotoSplit:
        split_rows = tuple(row for row in rows if row.split == split)
        labels = np.array([index_of[row.label] for row in split_rows], np.int64)
        return PhotoSplit(root, split_rows, labels, follow_links)

    train, validation = part("train"), part("validation")
    test = validation if no_test else part("test")
    _check_split_sizes(root, scan.classes, train, validation)
    return PhotoDataset(
        name=root.resolve().name,
        root=root,
        classes=scan.classes,
        train=train,
        validation=validation,
        test=test,
        sha256=folder_sha256(replace(scan, rows=rows)),
        notes=notes,
        pretraining_overlap=imagenet_overlap(scan.classes),
        class_share=largest_class_share(test.labels),
        has_test=not no_test,
    )


def _check_split_sizes(
    root: Path, classes: tuple[str, ...], train: PhotoSplit, validation: PhotoSplit
) -> None:
    """Raise InputError if a class has no train image or the validation split is empty."""
    without = [name for k, name in enumerate(classes) if not (train.labels == k).any()]
    fix = "add train images, or remove the class"
    problems = [Problem(str(root), f'class "{name}" has no train image', fix) for name in without]
    if not len(validation):
        problems.append(
            Problem(
                str(root),
                "no validation images",
                "give a fraction for each split: --split .6,.2,.2",
            )
        )
    if problems:
        raise InputError(*problems)
