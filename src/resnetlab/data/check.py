"""Audit of a data set before training: counts, sizes, skipped files, and images that are the same
in two splits, within one split or under two classes.

It trains nothing, repairs nothing, and writes only what opening the source writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnetlab.data.config import (
    DEFAULT_FOLDER_CHOICES,
    FolderChoices,
    LabeledImages,
    Source,
    Split,
)
from resnetlab.data.paths import is_folder
from resnetlab.data.sources import SOURCE_NAMES, open_source
from resnetlab.data.sources.folder.problems import count_files
from resnetlab.data.sources.folder.same_pixels import same_pixels
from resnetlab.data.sources.folder.types import SkippedFile
from resnetlab.errors import MAX_VALUE_LENGTH, escape_controls, shorten
from resnetlab.messages import Notify, format_count, silent, truncate_lines
from resnetlab.notebook import ObjectSummary, with_summary

if TYPE_CHECKING:
    from resnetlab.data.sources.folder.scan import FolderScan


@dataclass(frozen=True)
class ImageSizes:
    """Minimum, median and maximum of the images' shorter and longer sides, in pixels as stored."""

    shorter: tuple[int, int, int]
    longer: tuple[int, int, int]


MAX_NAME_LENGTH = 60
"""Number of characters of the name of a class in the printed table."""


@with_summary
@dataclass(frozen=True)
class Audit:
    """Result of `audit_source`; `shape` is (H, W, C), and counts are in class order."""

    name: str
    sha256: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    counts: Mapping[Split, tuple[int, ...]]
    sizes: ImageSizes
    skipped: tuple[SkippedFile, ...]
    bad: tuple[SkippedFile, ...]
    duplicates: tuple[tuple[str, ...], ...]
    """Groups of images with the same pixels in more than one split, by path or by `split[index]`.
    """
    copies_within_split: tuple[tuple[str, ...], ...]
    """Groups of images with the same pixels in one split, by path or by `split[index]`."""
    contradictions: tuple[tuple[str, ...], ...]
    """Groups of images with the same pixels under more than one class, each with its class."""
    notes: tuple[str, ...]
    tables: tuple[str, ...] | None = None
    """Tables of labels that were read in a folder; None if the images are no files of a folder."""

    @property
    def file_counts(self) -> str:
        """Line that accounts for every file of a folder, or an empty one."""
        if self.tables is None:
            return ""
        return count_files(self.num_images, self.skipped, len(self.bad), self.tables)

    @property
    def num_images(self) -> int:
        """Number of images in all splits."""
        return sum(sum(counts) for counts in self.counts.values())

    def _summary(self) -> ObjectSummary:
        classes = format_count(len(self.classes), "class")
        counts = [self.counts[split] for split in self.counts]
        return ObjectSummary(
            f"{self.name}: {format_count(self.num_images, 'image')} of {classes}",
            {
                "damaged files": len(self.bad),
                "duplicates in two splits": len(self.duplicates),
                "duplicates within one split": len(self.copies_within_split),
                "duplicates under two classes": len(self.contradictions),
            },
            ("class", *self.counts),
            list(zip(self.classes, *counts, strict=True)),
            self.notes,
        )

    def lines(self, limit: int | None = 20) -> list[str]:
        """Return the findings as lines for a terminal: at most `limit` of each list (None: all)."""
        height, width, channels = self.shape
        lines = [
            (
                f"{self.name}: {format_count(self.num_images, 'image')} of "
                f"{format_count(len(self.classes), 'class')}, which a study reads as {height} x "
                f"{width} x {channels}"
            ),
            *([self.file_counts] if self.file_counts else []),
            f"sha256 {self.sha256}",
            (
                f"shorter side {_format_range(self.sizes.shorter)}, longer side "
                f"{_format_range(self.sizes.longer)} (min, median, max)"
            ),
            *_table(self.classes, self.counts, limit),
        ]
        for title, skipped in (("skipped", self.skipped), ("bad", self.bad)):
            lines.append(f"{title}: {len(skipped):,}")
            lines += truncate_lines([f"  {item.path}: {item.reason}" for item in skipped], limit)
        lines.append(f"same pixels in more than one split: {len(self.duplicates):,}")
        lines += _format_groups(self.duplicates, limit)
        lines.append(f"same pixels within one split: {len(self.copies_within_split):,}")
        lines += _format_groups(self.copies_within_split, limit)
        lines.append(f"same pixels under more than one class: {len(self.contradictions):,}")
        lines += _format_groups(self.contradictions, limit)
        notes = [f"note: {note}" for note in self.notes if note != self.file_counts]
        return [escape_controls(line) for line in (*lines, *notes)]


def audit_source(
    source: str,
    *,
    image_size: int | None = None,
    cache: Path,
    notify: Notify = silent,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    rehash: bool = False,
) -> Audit:
    """Audit a source.

    Broken files are listed rather than refused. Of a folder that was read before, only the files
    with another size, time or inode are read, or with `rehash` all. Raises InputError if the source
    cannot be opened.
    """
    if source not in SOURCE_NAMES and is_folder(source):
        return _scan_and_audit(Path(source), image_size, cache, notify, folder_choices, rehash)
    data = open_source(source, image_size=image_size, cache=cache, notify=notify)
    side = data.train.pixels.shape[1]
    sizes = ImageSizes((side, side, side), (side, side, side))
    images = [
        _Image(split, data.classes[label], f"{split}[{index}]")
        for split, part in _splits(data).items()
        for index, label in enumerate(part.labels)
    ]
    groups = same_pixels(pixels for part in _splits(data).values() for pixels in part.pixels)
    return _build_audit(data, images, groups, sizes, (), ())


def _scan_and_audit(
    root: Path,
    image_size: int | None,
    cache: Path,
    notify: Notify,
    folder_choices: FolderChoices,
    rehash: bool,
) -> Audit:
    from resnetlab.data.sources.folder.scan import scan_folder

    scan = scan_folder(
        root,
        image_size=image_size,
        cache=cache,
        notify=notify,
        skip_bad=True,
        rehash=rehash,
        folder_choices=folder_choices,
    )
    return audit_folder(scan)


def audit_folder(scan: FolderScan) -> Audit:
    """Return the audit of a scanned folder."""
    from resnetlab.data.sources.folder.source import to_source

    sizes_stored = np.array([sorted(row.size) for row in scan.rows])
    sizes = ImageSizes(_min_median_max(sizes_stored[:, 0]), _min_median_max(sizes_stored[:, 1]))
    bad = tuple(SkippedFile(item.path, item.reason) for item in scan.bad)
    images = [_Image(row.split, row.label, row.path) for row in scan.rows]
    return _build_audit(
        to_source(scan), images, scan.same_pixels, sizes, scan.skipped, bad, scan.tables
    )


@dataclass(frozen=True)
class _Image:
    """Image of the data set: its split, its class and its name."""

    split: Split | None
    label: str
    name: str


def _build_audit(
    source: Source,
    images: Sequence[_Image],
    groups: Sequence[Sequence[int]],
    sizes: ImageSizes,
    skipped: tuple[SkippedFile, ...],
    bad: tuple[SkippedFile, ...],
    tables: tuple[str, ...] | None = None,
) -> Audit:
    splits = _splits(source)
    counts = {
        split: tuple(np.bincount(part.labels, minlength=len(source.classes)).tolist())
        for split, part in splits.items()
    }
    order: list[Split | None] = ["train", "validation", "test", None]

    def by_split(index: int) -> tuple[int, int]:
        return order.index(images[index].split), index

    in_order = sorted(
        (sorted(group, key=by_split) for group in groups), key=lambda group: by_split(group[0])
    )
    same = [[images[index] for index in group] for group in in_order]
    by_name = [tuple(image.name for image in group) for group in same]
    in_one_split = [len({image.split for image in group}) == 1 for group in same]
    height, width, channels = source.train.pixels.shape[1:]
    return Audit(
        source.name,
        source.sha256,
        (height, width, channels),
        source.classes,
        counts,
        sizes,
        skipped,
        bad,
        tuple(names for names, one in zip(by_name, in_one_split, strict=True) if not one),
        tuple(names for names, one in zip(by_name, in_one_split, strict=True) if one),
        tuple(
            tuple(f"{image.name} ({image.label})" for image in group)
            for group in same
            if len({image.label for image in group}) > 1
        ),
        source.notes,
        tables,
    )


def _splits(source: Source) -> dict[Split, LabeledImages]:
    validation: dict[Split, LabeledImages] = (
        {"validation": source.validation} if source.validation is not None else {}
    )
    return {"train": source.train, **validation, "test": source.test}


def _min_median_max(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[int, int, int]:
    return int(values.min()), int(np.median(values)), int(values.max())


def _format_range(values: tuple[int, int, int]) -> str:
    return " / ".join(f"{value:,}" for value in values)


def _table(
    classes: Sequence[str], counts: Mapping[Split, tuple[int, ...]], limit: int | None
) -> list[str]:
    names = [shorten(escape_controls(name), MAX_NAME_LENGTH) for name in classes]
    width = max([5, *map(len, names)])
    rows = [
        f"  {name.ljust(width)}" + "".join(f"{part[index]:>12,}" for part in counts.values())
        for index, name in enumerate(names)
    ]
    head = "  " + "class".ljust(width) + "".join(f"{split:>12}" for split in counts)
    foot = "  " + "all".ljust(width) + "".join(f"{sum(part):>12,}" for part in counts.values())
    return [head, *truncate_lines(rows, limit), foot]


def _format_groups(groups: Sequence[Sequence[str]], limit: int | None) -> list[str]:
    lines = []
    for group in groups:
        names = " = ".join(shorten(name, MAX_VALUE_LENGTH) for name in group[:10])
        more = f" and {len(group) - 10:,} more" if group[10:] else ""
        lines.append(f"  {names}{more}")
    return truncate_lines(lines, limit)
