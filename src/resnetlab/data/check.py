"""Audit of a data set before training: counts, sizes, skipped files, and duplicates across splits.

It trains nothing, repairs nothing, and writes only what opening the source writes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnetlab.data.config import LabeledImages, Source, Split
from resnetlab.data.sources import SOURCE_NAMES, open_source
from resnetlab.data.sources.folder_types import SkippedFile
from resnetlab.errors import escape_controls
from resnetlab.messages import Notify, format_count, silent

if TYPE_CHECKING:
    from resnetlab.data.sources.folder import FolderScan


@dataclass(frozen=True)
class ImageSizes:
    """Minimum, median and maximum of the images' shorter and longer sides, in pixels as stored."""

    shorter: tuple[int, int, int]
    longer: tuple[int, int, int]


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
    notes: tuple[str, ...]

    @property
    def num_images(self) -> int:
        """Number of images in all splits."""
        return sum(sum(counts) for counts in self.counts.values())

    def lines(self, limit: int | None = 20) -> list[str]:
        """Return the findings as lines for a terminal: at most `limit` of each list (None: all)."""
        height, width, channels = self.shape
        lines = [
            (
                f"{self.name}: {format_count(self.num_images, 'image')} of "
                f"{format_count(len(self.classes), 'class')}, "
                f"{height} x "
                f"{width} x {channels}"
            ),
            f"sha256 {self.sha256}",
            (
                f"shorter side {_format_range(self.sizes.shorter)}, longer side "
                f"{_format_range(self.sizes.longer)} "
                "(min, median, max)"
            ),
            *_table(self.classes, self.counts, limit),
        ]
        for title, skipped in (("skipped", self.skipped), ("bad", self.bad)):
            lines.append(f"{title}: {len(skipped):,}")
            lines += _truncate_lines([f"  {item.path}: {item.reason}" for item in skipped], limit)
        lines.append(f"same pixels in more than one split: {len(self.duplicates):,}")
        lines += _truncate_lines(["  " + " = ".join(group) for group in self.duplicates], limit)
        return [
            escape_controls(line) for line in (*lines, *(f"note: {note}" for note in self.notes))
        ]


def audit_source(
    source: str, *, image_size: int | None = None, cache: Path, notify: Notify = silent
) -> Audit:
    """Audit a source.

    Broken files are listed rather than refused. Raises InputError if the source cannot be opened.
    """
    if source not in SOURCE_NAMES and Path(source).is_dir():
        return _scan_and_audit(Path(source), image_size, cache, notify)
    data = open_source(source, image_size=image_size, cache=cache, notify=notify)
    names = {
        split: [f"{split}[{index}]" for index in range(len(part))]
        for split, part in _splits(data).items()
    }
    side = data.train.pixels.shape[1]
    sizes = ImageSizes((side, side, side), (side, side, side))
    return _build_audit(data, names, sizes, (), ())


def _scan_and_audit(root: Path, image_size: int | None, cache: Path, notify: Notify) -> Audit:
    from resnetlab.data.sources.folder import scan_folder

    return audit_folder(
        scan_folder(
            root, image_size=image_size, cache=cache, notify=notify, skip_bad=True, rehash=True
        )
    )


def audit_folder(scan: FolderScan) -> Audit:
    """Return the audit of a scanned folder."""
    from resnetlab.data.sources.folder import to_source

    names = defaultdict(list)
    for row in scan.rows:
        names[row.split].append(row.path)
    sizes_stored = np.array([sorted(row.size) for row in scan.rows])
    sizes = ImageSizes(_min_median_max(sizes_stored[:, 0]), _min_median_max(sizes_stored[:, 1]))
    bad = tuple(SkippedFile(item.path, item.reason) for item in scan.bad)
    by_split = {split: paths for split, paths in names.items() if split is not None}
    return _build_audit(to_source(scan), by_split, sizes, scan.skipped, bad)


def _build_audit(
    source: Source,
    names: Mapping[Split, Sequence[str]],
    sizes: ImageSizes,
    skipped: tuple[SkippedFile, ...],
    bad: tuple[SkippedFile, ...],
) -> Audit:
    splits = _splits(source)
    counts = {
        split: tuple(np.bincount(part.labels, minlength=len(source.classes)).tolist())
        for split, part in splits.items()
    }
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
        _duplicates(splits, names),
        source.notes,
    )


def _splits(source: Source) -> dict[Split, LabeledImages]:
    validation: dict[Split, LabeledImages] = (
        {"validation": source.validation} if source.validation is not None else {}
    )
    return {"train": source.train, **validation, "test": source.test}


def _duplicates(
    splits: Mapping[Split, LabeledImages], names: Mapping[Split, Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    """Return groups of images with the same training pixels, for groups in two or more splits."""
    groups: dict[bytes, list[tuple[Split, str]]] = defaultdict(list)
    for split, part in splits.items():
        for pixels, name in zip(part.pixels, names[split], strict=True):
            groups[hashlib.sha256(pixels.tobytes()).digest()].append((split, name))
    shared = [group for group in groups.values() if len({split for split, _ in group}) > 1]
    return tuple(tuple(name for _, name in group) for group in shared)


def _min_median_max(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[int, int, int]:
    return int(values.min()), int(np.median(values)), int(values.max())


def _format_range(values: tuple[int, int, int]) -> str:
    return " / ".join(f"{value:,}" for value in values)


def _table(
    classes: Sequence[str], counts: Mapping[Split, tuple[int, ...]], limit: int | None
) -> list[str]:
    width = max([5, *(len(escape_controls(name)) for name in classes)])
    rows = [
        f"  {escape_controls(name).ljust(width)}"
        + "".join(f"{part[index]:>12,}" for part in counts.values())
        for index, name in enumerate(classes)
    ]
    head = "  " + "class".ljust(width) + "".join(f"{split:>12}" for split in counts)
    foot = "  " + "all".ljust(width) + "".join(f"{sum(part):>12,}" for part in counts.values())
    return [head, *_truncate_lines(rows, limit), foot]


def _truncate_lines(items: list[str], limit: int | None) -> list[str]:
    if limit is None or len(items) <= limit:
        return items
    return [*items[:limit], f"  ... and {len(items) - limit:,} more"]
