"""Photographs that are added to a model: old classes or new ones, split and without leaks.

Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.class_names import lookalike_problems, match_names
from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, SPLITS, FolderChoices, Split
from resnetlab.data.near_copies import MAX_COMPARED_IMAGES, find_near_copies
from resnetlab.data.paths import is_folder
from resnetlab.data.sources import decode_cache
from resnetlab.data.sources.folder.manifest import ManifestRow
from resnetlab.data.sources.folder.scan import (
    DEFAULT_IMAGE_SIZE,
    FIND_DAMAGE,
    FolderScan,
    scan_folder,
)
from resnetlab.errors import InputError, escape_controls, input_error
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.finetuning.photo_record import LabeledSplit, splits_of_record
from resnetlab.messages import Notify, format_count, silent
from resnetlab.model_folder.photo_record import PhotoRecord
from resnetlab.settings import cache_dir


@dataclass(frozen=True)
class AddedPhotos:
    """Added photographs by split, and the classes of the extended model."""

    name: str
    classes: tuple[str, ...]
    """Classes of the model in their order, then the new ones in the order of their names."""
    new_classes: tuple[str, ...]
    train: LabeledSplit
    validation: LabeledSplit
    test: LabeledSplit
    dropped: tuple[str, ...]
    """Photographs that are left out, since an old validation or test photograph is a near copy."""
    notes: tuple[str, ...]

    @property
    def splits(self) -> tuple[LabeledSplit, LabeledSplit, LabeledSplit]:
        """Train, validation and test split."""
        return self.train, self.validation, self.test


def open_added_photos(
    root: Path,
    classes: Sequence[str],
    old: PhotoRecord,
    *,
    cache: Path,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    skip_bad: bool = False,
    notify: Notify = silent,
) -> AddedPhotos:
    """Open the photographs to add, split them, and leave out copies of old test photographs.

    The folder may have a single class. Without splits of its own, 15 % of its photographs become
    test and 15 % validation. A near copy of an old train photograph is put into train.

    Args:
        root: Folder of the photographs.
        classes: Classes of the model.
        old: Photographs of the model.
        cache: Cache folder of the output.
        folder_choices: Other choices for reading the folder.
        skip_bad: Skip damaged files instead of refusing them.
        notify: Function that gets a line about slow work.

    Raises:
        InputError: The folder is invalid, a class looks like another, or no photograph is left.
    """
    if not is_folder(root):
        fix = "give a folder with a folder of photographs for each class"
        raise input_error("--add", "no such folder", fix, got=str(root))
    scan = scan_folder(
        root,
        image_size=DEFAULT_IMAGE_SIZE,
        cache=cache,
        notify=notify,
        skip_bad=skip_bad,
        folder_choices=folder_choices,
        purpose=FIND_DAMAGE,
        for_training=False,
    )
    names = match_names(scan.classes, classes)
    new = tuple(name for name in scan.classes if name not in names)
    problems = lookalike_problems([*classes, *new], str(root))
    if problems:
        raise InputError(*problems)
    rows = [replace(row, label=names.get(row.label, row.label)) for row in scan.rows]
    rows, dropped, notes = _without_leaks(scan, rows, old, notify)
    if not any(row.split == "train" for row in rows):
        message = "no photograph is left to train on"
        raise input_error(str(root), message, "add photographs that the model has not seen")
    follow_links = folder_choices.follow_links != "no"

    def part(split: Split) -> LabeledSplit:
        chosen = tuple(row for row in rows if row.split == split)
        photos = PhotoSplit(root, chosen, np.zeros(len(chosen), np.int64), follow_links)
        return LabeledSplit(photos, tuple(row.label for row in chosen))

    train, validation, test = map(part, SPLITS)
    return AddedPhotos(
        name=escape_controls(root.resolve().name),
        classes=(*classes, *new),
        new_classes=new,
        train=train,
        validation=validation,
        test=test,
        dropped=tuple(escape_controls(path) for path in dropped),
        notes=(*scan.notes, *notes),
    )


def _without_leaks(
    scan: FolderScan, rows: list[ManifestRow], old: PhotoRecord, notify: Notify
) -> tuple[list[ManifestRow], list[str], list[str]]:
    """Return the rows without near copies of old validation and test photographs, the paths of
    those, and notes. Near copies of old train photographs get the split train.
    """
    similar, notes = _near_old_photos(scan, old, notify)
    # A group goes to the split that its most restricted photograph allows.
    worst = dict[int, Split]()
    for index, split in similar.items():
        group = int(scan.groups.numbers[index])
        if split != "train" or group not in worst:
            worst[group] = split
    rest, dropped, moved = list[ManifestRow](), list[str](), 0
    for index, row in enumerate(rows):
        leak = worst.get(int(scan.groups.numbers[index]))
        if leak in ("validation", "test"):
            dropped.append(row.path)
        elif leak == "train" and row.split != "train":
            rest.append(replace(row, split="train"))
            moved += 1
        else:
            rest.append(row)
    if dropped:
        count = format_count(len(dropped), "added photograph")
        notes.append(f"{count} left out: near copies of old validation or test photographs")
    if moved:
        count = format_count(moved, "added photograph")
        notes.append(f"{count} moved to train: near copies of old train photographs")
    return rest, dropped, notes


def _near_old_photos(
    scan: FolderScan, old: PhotoRecord, notify: Notify
) -> tuple[dict[int, Split], list[str]]:
    """Return the split of the old near copy of each added photograph that has one, by the index of
    its row; test and validation come before train. Also return notes.
    """
    exact, near = dict[int, Split](), dict[int, Split]()
    notes: list[str] = []
    by_hash: dict[str, list[int]] = {}
    for index, row in enumerate(scan.rows):
        by_hash.setdefault(row.sha256, []).append(index)
    for split in SPLITS:  # the last one has priority
        for part in splits_of_record(old, split):
            for row in part.photo_split.rows:
                exact |= dict.fromkeys(by_hash.get(row.sha256, ()), split)
            pixels, unread = _decode(part.photo_split, scan.pixels.shape[1], notify)
            if unread:
                count = format_count(unread, "old photograph")
                notes.append(f"{count} cannot be read now and were compared by their hash only")
            if len(pixels) + len(scan.pixels) > MAX_COMPARED_IMAGES:
                notes.append(f"too many photographs to search near copies in {split}")
            near |= dict.fromkeys(_copies_of(pixels, scan.pixels), split)
    leaks = sum(split != "train" for index, split in near.items() if index not in exact)
    if 2 * leaks > len(scan.rows):
        notes.append(
            "so many added photographs look like old ones that near copies cannot be recognized: "
            "only exact copies are left out"
        )
        near = {}
    return near | exact, notes


def _decode(photos: PhotoSplit, side: int, notify: Notify) -> tuple[NDArray[np.uint8], int]:
    """Return small images of old photographs (N, S, S, C), and the number that cannot be read."""
    present = [row for row in photos.rows if (photos.root / row.path).is_file()]
    decoded = decode_cache.decode_or_load(
        photos.root,
        [row.path for row in present],
        [row.sha256 for row in present],
        side,
        cache=cache_dir() / "images",
        workers=decode_cache.default_workers(),
        notify=notify,
        follow_links=photos.follow_links,
        purpose="to find copies of old photographs",
    )
    return decoded.pixels, len(photos) - len(decoded.pixels)


def _copies_of(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> list[int]:
    """Return the indices of the new images (M, S, S, C) with a near copy among the old ones."""
    if not len(old):
        return []
    channels = max(old.shape[3], new.shape[3])
    both = np.concatenate([np.repeat(one, channels // one.shape[3], 3) for one in (old, new)])
    pairs = find_near_copies(both)
    return [pair.right - len(old) for pair in pairs if pair.left < len(old) <= pair.right]
