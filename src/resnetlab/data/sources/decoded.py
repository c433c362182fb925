"""Files to arrays: hashed and decoded by threads, and kept in a cache that is checked when it is read.

The result does not depend on the number of threads: each file has its place, whoever decodes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab import files
from resnetlab.data.sources import images


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
            raw = images.read(root / path)
            digest = hashlib.sha256(raw).hexdigest()
            return Probe(digest, images.header(raw), "")
        except images.BadImageError as error:
            return Probe(digest, (0, 0), str(error))

    with images.quiet(), ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(one, paths))


def decode(
    root: Path, paths: Sequence[str], hashes: Sequence[str], side: int, *, cache: Path, workers: int,
    say: Callable[[str], None],
) -> Decoded:  # fmt: skip
    """The files as squares of `side` pixels, from the cache when it holds them whole."""
    if not paths:
        return Decoded(np.empty((0, side, side, 1), np.uint8), ())
    key = hashlib.sha256(json.dumps([images.DECODER, side, *hashes]).encode()).hexdigest()
    kept = cache / f"{key}.npz"
    if kept.exists():
        held = _load(kept, key, len(paths), side)
        if held is not None:
            return held
        say(f"{kept} is damaged: decoding the images again")
    say(f"decoding {len(paths):,} images to {side} x {side} pixels")
    decoded = _decode(root, paths, hashes, side, workers)
    text = json.dumps(decoded.reasons).encode()
    with files.atomic(kept, "wb") as file:
        np.savez(
            file,
            pixels=decoded.pixels,
            reasons=np.frombuffer(text, np.uint8),
            digest=np.array(_digest(key, decoded.pixels, text)),
        )
    return decoded


def _decode(root: Path, paths: Sequence[str], hashes: Sequence[str], side: int, workers: int) -> Decoded:
    pixels = np.empty((len(paths), side, side, 3), np.uint8)

    def one(place: int) -> tuple[str, bool]:
        try:
            raw = images.read(root / paths[place])
            if hashlib.sha256(raw).hexdigest() != hashes[place]:
                raise images.BadImageError("changed while it was read")
            tile = images.square(images.decode(raw), side)
        except images.BadImageError as error:
            return str(error), True
        grey = tile.ndim == 2
        pixels[place] = tile[..., np.newaxis] if grey else tile
        return "", grey

    with images.quiet(), ThreadPoolExecutor(max_workers=workers) as pool:
        found = list(pool.map(one, range(len(paths))))
    good = np.array([not reason for reason, _ in found], dtype=np.bool_)
    pixels = pixels if good.all() else pixels[good]
    if all(grey for _, grey in found):
        pixels = np.ascontiguousarray(pixels[..., :1])
    return Decoded(pixels, tuple(reason for reason, _ in found))


def _load(path: Path, key: str, count: int, side: int) -> Decoded | None:
    """What was kept, or None when a byte of it is not what was written."""
    try:
        # The file is opened here because numpy leaves it open when it is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            pixels, text = archive["pixels"], archive["reasons"].tobytes()
            if str(archive["digest"]) != _digest(key, pixels, text):
                return None
        reasons = tuple(json.loads(text))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError):
        return None
    whole = len(reasons) == count and pixels.shape[:3] == (reasons.count(""), side, side)
    return Decoded(pixels, reasons) if whole else None


def _digest(key: str, pixels: NDArray[np.uint8], text: bytes) -> str:
    form = [key, pixels.shape, hashlib.sha256(pixels.data if pixels.size else b"").hexdigest()]
    return hashlib.sha256(json.dumps(form).encode() + text).hexdigest()


def default_workers() -> int:
    """As many threads as cores: Pillow lets go of the interpreter while it decodes."""
    return os.cpu_count() or 1
