"""Files to arrays: hashed and decoded by threads, and kept in a cache that is checked when it is read.

The result does not depend on the number of threads: each file has its place, whoever decodes it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab import files
from resnetlab.data.sources import image_decoder
from resnetlab.errors import InputError


@dataclass(frozen=True)
class Probe:
    """What hashing a file found: `size` is (height, width) as stored; `reason` is empty for a good header."""

    sha256: str
    size: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class Decoded:
    """The good files' `pixels` (N, S, S, C), C 1 when all are grey; for each file given, its `reason`, or ''."""

    pixels: NDArray[np.uint8]
    reasons: tuple[str, ...]


def probe(root: Path, paths: Sequence[str], workers: int) -> list[Probe]:
    """Hash each file and read its header."""

    def one(path: str) -> Probe:
        digest = ""
        try:
            raw = image_decoder.read(root / path)
            digest = hashlib.sha256(raw).hexdigest()
            return Probe(digest, image_decoder.header(raw), "")
        except image_decoder.BadImageError as error:
            return Probe(digest, (0, 0), str(error))

    with image_decoder.quiet(), ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(one, paths))


def decode(
    root: Path, paths: Sequence[str], hashes: Sequence[str], side: int, *, cache: Path, workers: int,
    say: Callable[[str], None],
) -> Decoded:  # fmt: skip
    """The files as squares of `side` pixels, from the cache when it holds them whole."""
    if not paths:
        return Decoded(np.empty((0, side, side, 1), np.uint8), ())
    key = key_of(side, hashes)
    held = load(cache, key)
    if held is not None and len(held.reasons) == len(paths):
        return held
    if pixels_path(cache, key).exists():
        say(f"{pixels_path(cache, key)} is damaged: decoding the images again")
    say(f"decoding {len(paths):,} images to {side} x {side} pixels")
    decoded = _decode(root, paths, hashes, side, workers)
    with files.atomic(pixels_path(cache, key), "wb") as file:
        np.save(file, decoded.pixels)
    reasons = list(decoded.reasons)
    facts = {"reasons": reasons, "sha256": _digest(key, decoded.pixels, reasons)}
    files.write_json(pixels_path(cache, key).with_suffix(".json"), facts)
    return load(cache, key) or decoded


def key_of(side: int, hashes: Sequence[str]) -> str:
    """The name under which the squares of `side` pixels of these files are kept."""
    return hashlib.sha256(json.dumps([image_decoder.DECODER, side, *hashes]).encode()).hexdigest()


def pixels_path(cache: Path, key: str) -> Path:
    """Where the pixels of that name are kept."""
    return cache / f"{key}.npy"


def load(cache: Path, key: str) -> Decoded | None:
    """What was kept, mapped from the disk; None when there is none, or a byte of it is not what was written."""
    try:
        facts = files.read_json(pixels_path(cache, key).with_suffix(".json"), files.MAX_OWN_BYTES)
        reasons = [str(reason) for reason in facts["reasons"]]
        # Copied where it is written to, which no one does: torch warns of arrays that it may not write to.
        pixels = np.load(pixels_path(cache, key), mmap_mode="c")
        whole = facts["sha256"] == _digest(key, pixels, reasons)
    except (InputError, OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return Decoded(pixels, tuple(reasons)) if whole else None


def _decode(root: Path, paths: Sequence[str], hashes: Sequence[str], side: int, workers: int) -> Decoded:
    pixels = np.empty((len(paths), side, side, 3), np.uint8)

    def one(place: int) -> tuple[str, bool]:
        try:
            raw = image_decoder.read(root / paths[place])
            if hashlib.sha256(raw).hexdigest() != hashes[place]:
                raise image_decoder.BadImageError("changed while it was read")
            tile = image_decoder.square(image_decoder.decode(raw), side)
        except image_decoder.BadImageError as error:
            return str(error), True
        grey = tile.ndim == 2
        pixels[place] = tile[..., np.newaxis] if grey else tile
        return "", grey

    with image_decoder.quiet(), ThreadPoolExecutor(max_workers=workers) as pool:
        found = list(pool.map(one, range(len(paths))))
    good = np.array([not reason for reason, _ in found], dtype=np.bool_)
    pixels = pixels if good.all() else pixels[good]
    if all(grey for _, grey in found):
        pixels = np.ascontiguousarray(pixels[..., :1])
    return Decoded(pixels, tuple(reason for reason, _ in found))


def _digest(key: str, pixels: NDArray[np.uint8], reasons: list[str]) -> str:
    form = [
        key,
        pixels.shape,
        str(pixels.dtype),
        hashlib.sha256(pixels.data if pixels.size else b"").hexdigest(),
        reasons,
    ]
    return hashlib.sha256(json.dumps(form).encode()).hexdigest()


def default_workers() -> int:
    """As many threads as cores: Pillow lets go of the interpreter while it decodes."""
    return os.cpu_count() or 1
