"""Content hash of a data set: a Source from arrays, and its SHA-256. Reads and writes no file.

The canonical form is JSON with sorted keys and no spaces: `{"form": "resnetlab arrays 1",
"classes": [names], "train": {"shape": [N, H, W, C], "dtype": "uint8", "pixels": SHA-256, "labels":
SHA-256}, "test": ..., "validation": ... or absent}`, where pixels are hashed in C order and labels
as little-endian int64. The same content has the same hash, whether it came by name, from a file or
over the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.config import LabeledImages, Source


def build_source(
    name: str,
    classes: Sequence[str],
    *,
    train: LabeledImages,
    test: LabeledImages,
    validation: LabeledImages | None = None,
    notes: Sequence[str] = (),
) -> Source:
    """Return a Source of checked arrays, with the hash of its content."""
    splits = {"train": train, "test": test} | (
        {"validation": validation} if validation is not None else {}
    )
    sha256 = content_sha256(classes, splits)
    return Source(name, tuple(classes), train, test, validation, sha256, tuple(notes))


def make_images(pixels: NDArray[np.uint8], labels: NDArray[np.generic]) -> LabeledImages:
    """Return `LabeledImages` of pixels (N, H, W) or (N, H, W, C) uint8 and integer labels (N,)."""
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
    return LabeledImages(np.ascontiguousarray(pixels), np.ascontiguousarray(labels, dtype=np.int64))


def content_sha256(classes: Sequence[str], splits: dict[str, LabeledImages]) -> str:
    """Return the SHA-256, in hexadecimal, of the canonical form above."""
    parts = [
        array
        for part in splits.values()
        for array in (part.pixels, part.labels.astype("<i8", copy=False))
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:  # hashing releases the GIL
        hashes = list(pool.map(array_sha256, parts))
    canonical: dict[str, object] = {"form": "resnetlab arrays 1", "classes": list(classes)}
    for (split, part), pixels, labels in zip(
        splits.items(), hashes[::2], hashes[1::2], strict=True
    ):
        canonical[split] = {
            "shape": part.pixels.shape,
            "dtype": "uint8",
            "pixels": pixels,
            "labels": labels,
        }
    return hashlib.sha256(
        json.dumps(canonical, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def array_sha256(array: NDArray[np.generic]) -> str:
    """Return the SHA-256 of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data if array.size else b"").hexdigest()
