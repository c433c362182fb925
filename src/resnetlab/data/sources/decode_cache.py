"""Cache of decoded images: threads hash and decode files; reading verifies it.

The result does not depend on the number of threads: each file has its own index.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab import files
from resnetlab.data.sources import image_decoder
from resnetlab.errors import InputError
from resnetlab.messages import Notify, format_count


@dataclass(frozen=True)
class FileInfo:
    """Result of hashing a file: `size` (height, width) as stored; `reason` is empty if good."""

    sha256: str
    size: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class DecodedImages:
    """Decoded images: `pixels` (N, S, S, C) of the good files; a `reason` for each file, or ''."""

    pixels: NDArray[np.uint8]
    reasons: tuple[str, ...]


def hash_files(
    root: Path, paths: Sequence[str], workers: int, *, follow_links: bool = False
) -> list[FileInfo]:
    """Hash each file and read its header."""

    def hash_file(path: str) -> FileInfo:
        digest = ""
        try:
            raw = image_decoder.read_bytes(f"{root}/{path}", follow_links=follow_links)
            digest = hashlib.sha256(raw).hexdigest()
            return FileInfo(digest, image_decoder.read_size(raw), "")
        except image_decoder.BadImageError as error:
            return FileInfo(digest, (0, 0), str(error))

    with image_decoder.suppress_pillow_warnings(), ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(hash_file, paths))


def decode_or_load(
    root: Path,
    paths: Sequence[str],
    hashes: Sequence[str],
    side: int,
    *,
    cache: Path,
    workers: int,
    notify: Notify,
    follow_links: bool = False,
    purpose: str = "",
) -> DecodedImages:
    """Decode the files as squares of `side` pixels, or load them if the cache has them all.

    `purpose` is the reason that the message names in place of the size.
    """
    if not paths:
        return DecodedImages(np.empty((0, side, side, 1), np.uint8), ())
    key = cache_key(side, hashes)
    cached = load_cached(cache, key)
    if cached is not None and len(cached.reasons) == len(paths):
        return cached
    if pixels_path(cache, key).exists():
        notify(f"{pixels_path(cache, key)} is damaged: decoding the images again")
    notify(
        f"decoding {format_count(len(paths), 'image')} " + (purpose or f"to {side} x {side} pixels")
    )
    decoded, is_lasting = _decode(root, paths, hashes, side, workers, follow_links)
    if not is_lasting:  # another attempt may read the others
        return decoded
    with files.atomic_write(pixels_path(cache, key), "wb") as file:
        np.save(file, decoded.pixels)
    reasons = list(decoded.reasons)
    metadata = {"reasons": reasons, "sha256": _checksum(key, decoded.pixels, reasons)}
    files.write_json(pixels_path(cache, key).with_suffix(".json"), metadata)
    return load_cached(cache, key) or decoded


def cache_key(side: int, hashes: Sequence[str]) -> str:
    """Return the cache key for these files as squares of `side` pixels."""
    return hashlib.sha256(
        json.dumps([image_decoder.DECODER_VERSION, side, *hashes]).encode()
    ).hexdigest()


def pixels_path(cache: Path, key: str) -> Path:
    """Return the path of the cached pixels for that key."""
    return cache / f"{key}.npy"


def load_cached(cache: Path, key: str) -> DecodedImages | None:
    """Return the cached images, memory-mapped; None if there are none or a byte differs."""
    try:
        metadata = files.read_json(
            pixels_path(cache, key).with_suffix(".json"), files.MAX_GENERATED_BYTES
        )
        reasons = [str(reason) for reason in metadata["reasons"]]
        # Copy-on-write, though nobody writes: torch warns about read-only arrays.
        pixels = np.load(pixels_path(cache, key), mmap_mode="c")
        intact = metadata["sha256"] == _checksum(key, pixels, reasons)
    except (InputError, OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return DecodedImages(pixels, tuple(reasons)) if intact else None


def _decode(
    root: Path,
    paths: Sequence[str],
    hashes: Sequence[str],
    side: int,
    workers: int,
    follow_links: bool,
) -> tuple[DecodedImages, bool]:
    """Return the decoded images, and True if the disk gave every file."""
    pixels = np.empty((len(paths), side, side, 3), np.uint8)

    unreadable: list[str] = []

    def decode_file(index: int) -> tuple[str, bool]:
        try:
            raw = image_decoder.read_bytes(f"{root}/{paths[index]}", follow_links=follow_links)
            if hashlib.sha256(raw).hexdigest() != hashes[index]:
                raise image_decoder.UnreadableFileError("changed while it was read")
            tile = image_decoder.resize_center_square(image_decoder.decode(raw), side)
        except image_decoder.BadImageError as error:
            if isinstance(error, image_decoder.UnreadableFileError):
                unreadable.append(paths[index])
            return str(error), True
        gray = tile.ndim == 2
        pixels[index] = tile[..., np.newaxis] if gray else tile
        return "", gray

    with image_decoder.suppress_pillow_warnings(), ThreadPoolExecutor(max_workers=workers) as pool:
        results = list(pool.map(decode_file, range(len(paths))))
    good = np.array([not reason for reason, _ in results], dtype=np.bool_)
    pixels = pixels if good.all() else pixels[good]
    if all(gray for _, gray in results):
        pixels = np.ascontiguousarray(pixels[..., :1])
    return DecodedImages(pixels, tuple(reason for reason, _ in results)), not unreadable


def _checksum(key: str, pixels: NDArray[np.uint8], reasons: list[str]) -> str:
    content = [
        key,
        pixels.shape,
        str(pixels.dtype),
        hashlib.sha256(pixels.data if pixels.size else b"").hexdigest(),
        reasons,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def default_workers() -> int:
    """Return the number of cores: Pillow releases the GIL while it decodes."""
    return os.cpu_count() or 1
