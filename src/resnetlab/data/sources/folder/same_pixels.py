"""Images with the same pixels, by their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def same_pixels(images: Iterable[NDArray[np.uint8]]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of two or more images with the same pixels, by their indices, ascending."""
    groups: dict[bytes, list[int]] = {}
    for index, pixels in enumerate(images):
        digest = hashlib.sha256(np.ascontiguousarray(pixels).data).digest()
        groups.setdefault(digest, []).append(index)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
