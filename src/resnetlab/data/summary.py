"""Description of a folder of images: sizes, broken files, duplicates, overlap with other data.

It trains nothing and writes only the survey's cache.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.check import Audit, audit_folder
from resnetlab.data.config import DEFAULT_READING, FolderReading
from resnetlab.data.sources.folder import (
    DEFAULT_IMAGE_SIZE,
    FIND_DAMAGE,
    FolderScan,
    scan_folder,
)
from resnetlab.data.sources.manifest import ManifestRow, SplitSpec
from resnetlab.errors import escape_controls
from resnetlab.messages import Notify, silent

MAX_NEAR_DUPLICATE_BITS = 40
"""Maximum Hamming distance, of 256 bits, between near duplicates.

Two files of one photograph (other quality, size, brightness, a cropped rim) differ in at most 36
bits. Two photographs of the ten breeds in Imagewoof differ in at least 66 (measured on 1,200).
"""

_SYNSET = re.compile(r"n\d{8}(\W.*|_.*)?", re.S)


@dataclass(frozen=True)
class NearDuplicate:
    """Near duplicates in different splits, with the number of bits of their 256 that differ."""

    left: str
    right: str
    bits: int


@dataclass(frozen=True)
class FolderSummary:
    """Result of `summarize_folder`; `rows` has each usable image with its size as stored."""

    audit: Audit
    rows: tuple[ManifestRow, ...]
    near_duplicates: tuple[NearDuplicate, ...]
    overlap: str
    """Warning if a known pre-training set contains the images; otherwise empty."""

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
        listed = self.near_duplicates if limit is None else self.near_duplicates[:limit]
        lines = [
            (
                f"width / height {' / '.join(f'{value:.2f}' for value in aspect)} (min, 5 %, "
                "median, "
                "95 %, max)"
            ),
            f"nearly the same in more than one split: {len(self.near_duplicates):,} pairs",
            *(f"  {near.left} ~ {near.right} ({near.bits} of 256 bits differ)" for near in listed),
            *(
                [f"  ... and {len(self.near_duplicates) - len(listed):,} more"]
                if len(listed) < len(self.near_duplicates)
                else []
            ),
            *([f"warning: {self.overlap}"] if self.overlap else []),
        ]
        return [*self.audit.lines(limit), *map(escape_controls, lines)]


def summarize_folder(
    root: Path,
    *,
    cache: Path,
    split: SplitSpec | Path | None = None,
    notify: Notify = silent,
    reading: FolderReading = DEFAULT_READING,
) -> FolderSummary:
    """Survey a folder and describe it; broken files are listed, not refused. Raises InputError."""
    surveyed = scan_folder(
        root,
        image_size=DEFAULT_IMAGE_SIZE,
        cache=cache,
        notify=notify,
        skip_bad=True,
        split=split,
        reading=reading,
        purpose=FIND_DAMAGE,
    )
    return FolderSummary(
        audit_folder(surveyed),
        surveyed.rows,
        find_near_duplicates(surveyed),
        imagenet_overlap(surveyed.classes),
    )


def imagenet_overlap(classes: Sequence[str]) -> str:
    """Return a warning if most classes have names of ImageNet's synsets (`n02085620-Chihuahua`)."""
    synset_classes = [name for name in classes if _SYNSET.fullmatch(name)]
    if 2 * len(synset_classes) < len(classes):
        return ""
    return (
        f"{len(synset_classes)} of {len(classes)} classes bear names of ImageNet's synsets "
        f"({synset_classes[0]}): "
        "a network pre-trained on ImageNet has seen such photographs, most likely these very ones, "
        "so its scores on them are optimistic"
    )


def find_near_duplicates(scan: FolderScan) -> tuple[NearDuplicate, ...]:
    """Return pairs across splits whose difference hashes are near and whose pixels differ."""
    hashes = _difference_hashes(scan.pixels)
    splits = np.array([row.split for row in scan.rows])
    pairs: list[NearDuplicate] = []
    for first_split, second_split in (
        ("train", "validation"),
        ("train", "test"),
        ("validation", "test"),
    ):
        left, right = np.flatnonzero(splits == first_split), np.flatnonzero(splits == second_split)
        for index in left:
            bits = np.bitwise_count(hashes[right] ^ hashes[index]).sum(1)
            for near in right[bits <= MAX_NEAR_DUPLICATE_BITS]:
                if not np.array_equal(scan.pixels[index], scan.pixels[near]):
                    distance = int(np.bitwise_count(hashes[near] ^ hashes[index]).sum())
                    pairs.append(
                        NearDuplicate(scan.rows[index].path, scan.rows[near].path, distance)
                    )
    return tuple(sorted(pairs, key=lambda near: (near.bits, near.left, near.right)))


def _difference_hashes(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return hashes (N, 4): a bit compares one of 16 x 16 cells with the next (Krawetz 2013)."""
    images = [
        Image.fromarray(tile[..., 0] if tile.shape[2] == 1 else tile).convert("L")
        for tile in pixels
    ]
    reduced = np.stack([np.asarray(tile.resize((17, 16), Image.Resampling.BOX)) for tile in images])
    bits = (reduced[:, :, 1:] > reduced[:, :, :-1]).reshape(len(pixels), 256)
    return np.packbits(bits, axis=1).view(np.uint64)
