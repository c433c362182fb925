"""Cache of a folder's images, valid while no file in the folder has another path, size, inode,
modification time or change time.

The content of a file is identified by its SHA-256, computed when the file is decoded. A change of
content that leaves all of these as they were is not noticed until `data check --rehash` reads all
files. A file that is younger than the coarsest clock of a file system is always read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnetlab import files
from resnetlab.data.config import FollowLinks
from resnetlab.data.sources import decode_cache
from resnetlab.data.sources.decode_cache import FileInfo
from resnetlab.data.sources.folder.walk import walk
from resnetlab.errors import InputError, input_error
from resnetlab.messages import Notify, silent
from resnetlab.settings import CACHE_VARIABLE, cache_dir

CACHE_VERSION = 5
"""Version of the cache format. Increase it by hand when the meaning of the stored data changes."""

MTIME_RESOLUTION_NS = 2_000_000_000
"""Coarsest resolution of a file system's clock: FAT's clock ticks every two seconds."""

FileStamp = tuple[int, int, int, int]
"""Size of a file in bytes, its modification time and change time in nanoseconds, and its inode.

The change time is that of POSIX, which nobody can set; on Windows it is the time of creation.
"""


@dataclass(frozen=True)
class Fingerprint:
    """Hash over path, size, times and inode of all files, and the latest modification time (ns)."""

    sha256: str
    newest_ns: int
    started_ns: int

    @property
    def is_stable(self) -> bool:
        """True if every further change of a file will have a new modification time."""
        return self.newest_ns < self.started_ns - MTIME_RESOLUTION_NS


@dataclass(frozen=True)
class CachedFolder:
    """Images of a folder: `pixels` (N, S, S, C), `labels` (N,), and indices of splits (N,)."""

    classes: tuple[str, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]
    sha256: str
    notes: tuple[str, ...]
    groups: NDArray[np.int64]
    """Group of each image (N,)."""


def fingerprint_folder(root: Path, follow_links: FollowLinks = "no") -> Fingerprint:
    """Return the fingerprint of the folder `root`; no file is opened."""
    began = time.time_ns()
    try:
        entries, folders = walk(root, follow_links)
        newest, lines = 0, [f"{folder}/" for folder in folders]
        for entry in entries:
            # A link that was not followed counts as itself.
            status = os.stat(f"{root}/{entry.path}", follow_symlinks=not entry.skip_reason)  # noqa: PTH116
            newest = max(newest, status.st_mtime_ns)
            lines.append(
                f"{entry.path}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} "
                f"{status.st_ino} {status.st_mode}"
            )
    except (OSError, InputError):  # the reader of the folder reports what cannot be listed
        return Fingerprint("", began, began)
    text = "\n".join(sorted(lines))
    return Fingerprint(hashlib.sha256(os.fsencode(text)).hexdigest(), newest, began)


def load_cached_folder(path: Path, fingerprint: Fingerprint) -> CachedFolder | None:
    """Return the images cached at `path`, memory-mapped; None if anything differs."""
    metadata, arrays = _read(path)
    try:
        if metadata["fingerprint"] != fingerprint.sha256 or metadata["dependencies"] != _stamps(
            map(Path, metadata["dependencies"])
        ):
            return None
        decoded = decode_cache.load_cached(path.parent, metadata["pixels"])
        if decoded is None:
            return None
        classes, notes = tuple(metadata["classes"]), tuple(metadata["notes"])
        return CachedFolder(
            classes,
            decoded.pixels,
            arrays["labels"],
            arrays["splits"],
            metadata["sha256"],
            notes,
            arrays["groups"],
        )
    except (KeyError, TypeError):
        return None


def save_cached_folder(
    path: Path,
    fingerprint: Fingerprint,
    images: CachedFolder,
    pixels_key: str,
    dependencies: Iterable[Path],
) -> None:
    """Write the folder's images to the cache at `path`; `pixels_key` is the key of their pixels.

    `dependencies` are other files of the cache that the result depends on: if one is written again,
    the folder is read again.
    """
    if fingerprint.is_stable:
        metadata = {
            "fingerprint": fingerprint.sha256,
            "dependencies": _stamps(dependencies),
            "pixels": pixels_key,
            "classes": images.classes,
            "sha256": images.sha256,
            "notes": images.notes,
        }
        _write(path, metadata, labels=images.labels, splits=images.splits, groups=images.groups)


@dataclass(frozen=True)
class FolderFiles:
    """Hashes and sizes of a folder's files, in order, and how many of them the cache had."""

    infos: list[FileInfo]
    cached: int


def read_changed_files(
    root: Path,
    paths: Sequence[str],
    workers: int,
    cache: Path,
    *,
    rehash: bool = False,
    follow_links: bool = False,
    notify: Notify = silent,
) -> FolderFiles:
    """Hash those files that changed since the last call, as `decode_cache.hash_files`; with
    `rehash`, hash all files.
    """
    began, cache_path = time.time_ns(), file_infos_path(root, cache)
    stamps = {path: _stamp(f"{root}/{path}", follow_links) for path in paths}
    cached = {} if rehash else _load_files(cache_path)
    infos = {path: result for path, (stamp, result) in cached.items() if stamps.get(path) == stamp}
    fresh = [path for path in paths if path not in infos]
    if fresh:
        notify(f"reading {len(fresh):,} files of {root}")
    changed = decode_cache.hash_files(root, fresh, workers, follow_links=follow_links)
    infos |= zip(fresh, changed, strict=True)
    # A file that cannot be read is tried again each time: a package or the disk may have changed.
    stable = [
        (path, *stamp)
        for path, stamp in stamps.items()
        if stamp and stamp[1] < began - MTIME_RESOLUTION_NS and not infos[path].reason
    ]
    if fresh and stable:
        hashed = [(infos[path].sha256, *infos[path].size) for path, *_ in stable]
        _write(
            cache_path,
            {
                "files": [
                    (*stamp, *metadata) for stamp, metadata in zip(stable, hashed, strict=True)
                ]
            },
        )
    return FolderFiles([infos[path] for path in paths], len(paths) - len(fresh))


def folder_cache_path(root: Path, cache: Path, kind: str, *options: object) -> Path:
    """Return the cache path for a folder; `kind` and `options` distinguish the results."""
    resolved = root.resolve()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", resolved.name) or "root"
    key = hashlib.sha256(
        repr((CACHE_VERSION, os.fsencode(resolved), *options)).encode()
    ).hexdigest()
    return cache / f"{name}-{key[:8]}-{kind}.npz"


def file_infos_path(root: Path, cache: Path) -> Path:
    """Return the cache path for the hashes of the folder's files."""
    return folder_cache_path(root, cache, "files")


def _load_files(cache_path: Path) -> dict[str, tuple[FileStamp, FileInfo]]:
    metadata, _ = _read(cache_path)
    try:
        return {
            path: ((size, *times, inode), FileInfo(sha256, (height, width), ""))
            for path, size, *times, inode, sha256, height, width in metadata["files"]
        }
    except (KeyError, TypeError, ValueError):
        return {}


def _stamp(path: str | Path, follow_links: bool = False) -> FileStamp | None:
    try:
        status = os.stat(path, follow_symlinks=follow_links)  # noqa: PTH116
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _stamps(paths: Iterable[Path]) -> dict[str, list[int]]:
    return {str(path): list(stamp) for path in paths if (stamp := _stamp(path))}


def _write(path: Path, metadata: dict[str, Any], **arrays: NDArray[Any]) -> None:
    with files.atomic_write(path, "wb") as file:
        np.savez(file, metadata=np.frombuffer(json.dumps(metadata).encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return metadata and arrays of a cached archive, or nothing if its checksums show damage."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        metadata = json.loads(arrays.pop("metadata").tobytes())
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        KeyError,
        EOFError,
        RuntimeError,
        NotImplementedError,
    ):
        return {}, {}
    return (metadata if isinstance(metadata, dict) else {}), arrays


def image_cache_dir() -> Path:
    """Return the cache folder of decoded images and of what folders contained."""
    return cache_dir() / "images"


def check_outside(cache: Path, root: Path) -> None:
    """Raise InputError if an output or cache folder is inside the folder of images."""
    fixes = {
        cache: "give an output folder outside it, or name the folder of images itself",
        image_cache_dir(): f"give {CACHE_VARIABLE} a folder outside it, or name that folder",
    }
    for path, fix in fixes.items():
        # The next scan would list and hash what is written there.
        if path.resolve().is_relative_to(root.resolve()):
            raise input_error(str(root), f"{path} is inside the folder of images", fix)
