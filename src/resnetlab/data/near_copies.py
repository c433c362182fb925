"""Near copies: two files of one photograph, with another size, quality, brightness or mirrored.

Free of torch. The difference hash is that of Krawetz (2013), "Kind of like that".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_NEAR_COPY_BITS = 48
"""Maximum Hamming distance, of 256 bits, between near copies.

`benchmarks/near_copies.py` measures it: among 1,200 photographs of ten breeds of dogs no two are
that near, and of 200 copies each it finds all that are smaller, mirrored, gray, brighter or
compressed, and 198 that lack a rim of 2 % on each side.
"""

MIN_CONTRAST = 4.0
"""Smallest standard deviation, in gray levels of 255, of an image that can be compared. The bits of
a flat image say nothing."""

MIN_SHARE_OF_BITS = 0.1
"""Smallest share of 0 and of 1 among the bits of an image that can be compared. A smooth gradient
has bits of one kind, as every other gradient does."""

MIN_CORRELATION = 0.8
"""Smallest correlation between the reduced gray images of near copies."""

MAX_COMPARED_IMAGES = 20_000
"""Number of images up to which near copies are searched: the time grows with its square."""

_ROWS, _COLUMNS, _BITS = 16, 17, 256
_BLOCK = 1024


@dataclass(frozen=True)
class NearCopy:
    """Two images, by index, that are near copies; `left` < `right`."""

    left: int
    right: int
    bits: int
    """Number of the 256 bits that differ."""
    mirrored: bool
    """True if one resembles the mirror image of the other more than the other itself."""


def find_near_copies(pixels: NDArray[np.uint8]) -> list[NearCopy]:
    """Return the pairs of near copies among images (N, H, W, C) uint8, ordered by index.

    Images with the same pixels are near copies too. An image without contrast or detail has none.
    Above `MAX_COMPARED_IMAGES` images, and for images below 17 pixels, the result is empty.
    """
    if min(pixels.shape[1:3]) < _COLUMNS or not 2 <= len(pixels) <= MAX_COMPARED_IMAGES:
        return []
    reduced = _reduce(pixels)
    signs = _signs(reduced)
    has_contrast = reduced.std(axis=(1, 2)) >= MIN_CONTRAST
    has_detail = np.abs(signs.mean(1)) <= 1 - 2 * MIN_SHARE_OF_BITS
    compared = np.flatnonzero(has_contrast & has_detail)
    reduced, signs = reduced[compared], signs[compared]
    mirrored_signs = _signs(reduced[:, :, ::-1])
    normal, mirrored_normal = (
        standardize_rows(images.reshape(len(images), _ROWS * _COLUMNS))
        for images in (reduced, reduced[:, :, ::-1])
    )
    copies: dict[tuple[int, int], NearCopy] = {}
    for start in range(0, len(compared), _BLOCK):
        block = slice(start, start + _BLOCK)
        for mirrored in (False, True):
            others = mirrored_signs if mirrored else signs
            bits = (_BITS - signs[block] @ others[start:].T) / 2  # integers below 2^24: exact
            for row, column in np.argwhere(bits <= MAX_NEAR_COPY_BITS):
                left, right = start + row, start + column
                reference = mirrored_normal if mirrored else normal
                if left >= right or normal[left] @ reference[right] < MIN_CORRELATION:
                    continue
                pair = int(compared[left]), int(compared[right])
                copy = NearCopy(*pair, int(bits[row, column]), mirrored)
                if pair not in copies or copy.bits < copies[pair].bits:
                    copies[pair] = copy
    return [copies[pair] for pair in sorted(copies)]


def _reduce(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return gray images of 16 x 17 cells, (N, 16, 17)."""
    gray = (
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("L")
        for image in pixels
    )
    size, box = (_COLUMNS, _ROWS), Image.Resampling.BOX
    return np.stack([np.asarray(image.resize(size, box), np.float32) for image in gray])


def _signs(reduced: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the difference hashes (N, 256): 1 where a cell is brighter than the one to its left,
    else -1.
    """
    brighter = reduced[:, :, 1:] > reduced[:, :, :-1]
    return np.where(brighter, 1, -1).reshape(len(reduced), _BITS).astype(np.float32)


def standardize_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows (N, D) with mean 0 and length 1: their products are correlations."""
    centered = rows - rows.mean(1, keepdims=True)
    lengths = np.linalg.norm(centered, axis=1, keepdims=True)
    normalized: NDArray[np.float32] = centered / np.maximum(lengths, 1e-6)
    return normalized
