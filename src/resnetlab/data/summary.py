"""Description of a folder of images: sizes, broken files, duplicates, overlap with other data.

It trains nothing and writes only the caches of the scan.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.check import Audit, audit_folder
from resnetlab.data.class_names import class_indices
from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, SPLITS, FolderChoices
from resnetlab.data.leakage import LeakageEstimate, estimate_leakage
from resnetlab.data.sources.folder.manifest import ManifestRow, SplitSpec
from resnetlab.data.sources.folder.scan import (
    DEFAULT_IMAGE_SIZE,
    FIND_DAMAGE,
    FolderScan,
    scan_folder,
)
from resnetlab.errors import escape_controls
from resnetlab.messages import Notify, format_count, silent, truncate_lines
from resnetlab.notebook import ObjectSummary, with_summary

_SYNSET = re.compile(r"n\d{8}(\W.*|_.*)?", re.S)


@dataclass(frozen=True)
class NearCopyPair:
    """Two files of one photograph, with the number of bits of their 256 that differ."""

    left: str
    right: str
    bits: int
    mirrored: bool = False
    same_split: bool = False

    def text(self) -> str:
        """Describe the pair."""
        mirrored = ", mirrored" if self.mirrored else ""
        return f"{self.left} ~ {self.right} ({self.bits} of 256 bits differ{mirrored})"


@with_summary
@dataclass(frozen=True)
class FolderSummary:
    """Result of `summarize_folder`; `rows` has each usable image with its size as stored."""

    audit: Audit
    rows: tuple[ManifestRow, ...]
    near_copies: tuple[NearCopyPair, ...]
    overlap: str
    """Warning if a known pre-training set contains the images; otherwise empty."""
    leakage: LeakageEstimate | None = None
    """Effect of a random split that ignores groups and near copies; None without any."""

    def _summary(self) -> ObjectSummary:
        summary = self.audit._summary()
        details = {**summary.details, "near copies": len(self.near_copies)}
        warnings = [self.overlap] if self.overlap else []
        return replace(summary, details=details, notes=[*summary.notes, *warnings])

    @property
    def heights(self) -> NDArray[np.int64]:
        """Heights in pixels as stored (N,)."""
        return np.array([row.size[0] for row in self.rows], np.int64)

    @property
    def widths(self) -> NDArray[np.int64]:
        """Widths in pixels as stored (N,)."""
        return np.array([row.size[1] for row in self.rows], np.int64)

    def lines(self, limit: int | None = 20) -> list[str]:
        """Return the findings as lines for a terminal: at most `limit` of each list (None: all)."""
        aspect = np.quantile(self.widths / self.heights, (0, 0.05, 0.5, 0.95, 1))
        lines = [
            (
                f"width / height {' / '.join(f'{value:.2f}' for value in aspect)} "
                "(min, 5 %, median, 95 %, max)"
            )
        ]
        for where, same in (("in more than one split", False), ("within one split", True)):
            pairs = [f"  {near.text()}" for near in self.near_copies if near.same_split == same]
            lines.append(f"near copies {where}: {format_count(len(pairs), 'pair')}")
            lines += truncate_lines(pairs, limit)
        if self.leakage is not None:
            lines.append(f"note: {self.leakage.sentence()}")
        if self.overlap:
            lines.append(f"warning: {self.overlap}")
        return [*self.audit.lines(limit), *map(escape_controls, lines)]


def summarize_folder(
    root: Path,
    *,
    cache: Path,
    split: SplitSpec | Path | None = None,
    notify: Notify = silent,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
) -> FolderSummary:
    """Scan a folder and describe it; broken files are listed, not refused.

    Raises InputError if it cannot be read.
    """
    scan = scan_folder(
        root,
        image_size=DEFAULT_IMAGE_SIZE,
        cache=cache,
        notify=notify,
        skip_bad=True,
        split=split,
        folder_choices=folder_choices,
        purpose=FIND_DAMAGE,
    )
    index_of = class_indices(scan.classes)
    labels = np.array([index_of[row.label] for row in scan.rows], np.int64)
    return FolderSummary(
        audit_folder(scan),
        scan.rows,
        _near_copies(scan),
        imagenet_overlap(scan.classes),
        estimate_leakage(scan.pixels, labels, scan.groups.numbers),
    )


def imagenet_overlap(classes: Sequence[str]) -> str:
    """Return a warning if most classes have names of ImageNet's synsets (`n02085620-Chihuahua`)."""
    synset_classes = [name for name in classes if _SYNSET.fullmatch(name)]
    if 2 * len(synset_classes) < len(classes):
        return ""
    return (
        f"{len(synset_classes)} of {len(classes)} classes bear names of ImageNet's synsets "
        f"({synset_classes[0]}): a network pre-trained on ImageNet has seen such photographs, most "
        "likely these very ones, so its scores on them are optimistic"
    )


def _near_copies(scan: FolderScan) -> tuple[NearCopyPair, ...]:
    """Return the near copies whose pixels differ, those with the fewest other bits first.

    In a pair, train stands before validation and validation before test.
    """
    pairs = []
    for copy in scan.groups.near_copies:
        if np.array_equal(scan.pixels[copy.left], scan.pixels[copy.right]):
            continue
        rows = [scan.rows[copy.left], scan.rows[copy.right]]
        left, right = sorted(rows, key=lambda row: SPLITS.index(row.split or "test"))
        same_split = left.split == right.split
        pairs.append(NearCopyPair(left.path, right.path, copy.bits, copy.mirrored, same_split))
    return tuple(sorted(pairs, key=lambda near: (near.bits, near.left, near.right)))
