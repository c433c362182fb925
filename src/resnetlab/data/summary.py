"""A folder of photographs, described: sizes, what is broken, copies across splits, and who has seen it before.

Trains nothing and writes nothing but what the survey caches.
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
from resnetlab.data.sources import Say, silent
from resnetlab.data.sources.folder import DEFAULT_SIDE, Survey, survey
from resnetlab.data.sources.manifest import Cut, Row
from resnetlab.errors import printable

NEAR_BITS = 40
"""Of 256: two files of one photograph (other quality, size, brightness, a cropped rim) differ in at most 36 bits, two
photographs of the ten breeds in Imagewoof in at least 66 (measured on 1,200)."""

_SYNSET = re.compile(r"n\d{8}(\W.*|_.*)?", re.S)


@dataclass(frozen=True)
class Near:
    """Two images of different splits that look alike, and in how many of 256 bits their hashes differ."""

    left: str
    right: str
    bits: int


@dataclass(frozen=True)
class Description:
    """What `describe` found; `rows` has each usable image with its height and width as stored."""

    audit: Audit
    rows: tuple[Row, ...]
    near: tuple[Near, ...]
    overlap: str
    """A warning where a known pre-training set holds the images; else empty."""

    @property
    def heights(self) -> NDArray[np.int64]:
        """In pixels as stored (N,)."""
        return np.array([row.size[0] for row in self.rows], np.int64)

    @property
    def widths(self) -> NDArray[np.int64]:
        """In pixels as stored (N,)."""
        return np.array([row.size[1] for row in self.rows], np.int64)

    def lines(self, limit: int | None = 20) -> list[str]:
        """The findings for a terminal."""
        aspect = np.quantile(self.widths / self.heights, (0, 0.05, 0.5, 0.95, 1))
        shown = self.near if limit is None else self.near[:limit]
        lines = [
            f"width / height {' / '.join(f'{value:.2f}' for value in aspect)} (min, 5 %, median, 95 %, max)",
            f"nearly the same in more than one split: {len(self.near):,} pairs",
            *(f"  {near.left} ~ {near.right} ({near.bits} of 256 bits differ)" for near in shown),
            *([f"  ... and {len(self.near) - len(shown):,} more"] if len(shown) < len(self.near) else []),
            *([f"warning: {self.overlap}"] if self.overlap else []),
        ]
        return [*self.audit.lines(limit), *map(printable, lines)]


def describe(root: Path, *, cache: Path, cut: Cut | Path | None = None, say: Say = silent) -> Description:
    """Survey a folder and describe it; broken files are listed, not refused. Raises InputError."""
    found = survey(root, image_size=DEFAULT_SIDE, cache=cache, say=say, skip_bad=True, cut=cut)
    return Description(audit_folder(found), found.rows, near_copies(found), imagenet_overlap(found.classes))


def imagenet_overlap(classes: Sequence[str]) -> str:
    """A warning where most classes bear the names of ImageNet's synsets (`n02085620-Chihuahua`); else empty."""
    named = [name for name in classes if _SYNSET.fullmatch(name)]
    if 2 * len(named) < len(classes):
        return ""
    return (
        f"{len(named)} of {len(classes)} classes bear names of ImageNet's synsets ({named[0]}): a network pre-trained "
        "on ImageNet has seen such photographs, most likely these very ones, so its scores on them are optimistic"
    )


def near_copies(found: Survey) -> tuple[Near, ...]:
    """Pairs of images across splits whose difference hashes are near and whose pixels differ."""
    hashes = _hashes(found.pixels)
    splits = np.array([row.split for row in found.rows])
    pairs: list[Near] = []
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        left, right = np.flatnonzero(splits == one), np.flatnonzero(splits == other)
        for place in left:
            bits = np.bitwise_count(hashes[right] ^ hashes[place]).sum(1)
            for near in right[bits <= NEAR_BITS]:
                if not np.array_equal(found.pixels[place], found.pixels[near]):
                    distance = int(np.bitwise_count(hashes[near] ^ hashes[place]).sum())
                    pairs.append(Near(found.rows[place].path, found.rows[near].path, distance))
    return tuple(sorted(pairs, key=lambda near: (near.bits, near.left, near.right)))


def _hashes(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Difference hashes (N, 4): whether each of 16 x 16 cells is darker than the next to its right (Krawetz 2013)."""
    grey = [Image.fromarray(tile[..., 0] if tile.shape[2] == 1 else tile).convert("L") for tile in pixels]
    small = np.stack([np.asarray(tile.resize((17, 16), Image.Resampling.BOX)) for tile in grey])
    bits = (small[:, :, 1:] > small[:, :, :-1]).reshape(len(pixels), 256)
    return np.packbits(bits, axis=1).view(np.uint64)
