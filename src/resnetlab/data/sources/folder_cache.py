"""What a folder gave when it was last read: used again while no file in it has another path, size or time of change.

What a file holds is known by its SHA-256, taken when it is decoded. A file whose content was changed while its size and
time stayed is not noticed, until `data check` reads all of them. One that is younger than the coarsest clock of a file
system is never taken as seen.
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
from resnetlab.data.sources import decode_cache
from resnetlab.data.sources.decode_cache import Probe
from resnetlab.data.sources.folder_layout import is_folder

FORM = 1
"""Raised by hand when what is kept comes to mean something else."""

YOUNG_NS = 2_000_000_000
"""FAT's clock ticks every two seconds."""

Stamp = tuple[int, int]
"""Of a file: its bytes, and the nanosecond at which it was changed."""


@dataclass(frozen=True)
class Look:
    """Everything under a folder by path, size and time, hashed; and the time of what changed last, in nanoseconds."""

    sha256: str
    newest: int
    began: int

    @property
    def settled(self) -> bool:
        """Whether nothing may change again without a new time of change."""
        return self.newest < self.began - YOUNG_NS


@dataclass(frozen=True)
class Seen:
    """The images that a folder gave: `pixels` (N, S, S, C), `labels` (N,) and `splits` (N,), as numbers of a Split."""

    classes: tuple[str, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]
    sha256: str
    notes: tuple[str, ...]


def look(root: Path) -> Look:
    """Look at what is under `root`; no file is opened."""
    began, newest, lines, todo = time.time_ns(), 0, list[str](), [""]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(f"{root}/{folder}") as children:
                for child in children:
                    if is_folder(child):
                        todo.append(f"{folder}{child.name}/")
                        lines.append(todo[-1])
                        continue
                    held = child.stat(follow_symlinks=False)
                    newest = max(newest, held.st_mtime_ns)
                    lines.append(f"{folder}{child.name}\0{held.st_size} {held.st_mtime_ns} {held.st_mode}")
        except OSError:  # what cannot be listed is told by who reads the folder
            return Look("", began, began)
    text = "\n".join(sorted(lines))
    return Look(hashlib.sha256(os.fsencode(text)).hexdigest(), newest, began)


def recall(place: Path, looked: Look) -> Seen | None:
    """What was kept at `place`, its pixels mapped from the disk; None where the folder or anything else differs."""
    facts, arrays = _read(place)
    try:
        if facts["look"] != looked.sha256 or facts["beside"] != _beside(map(Path, facts["beside"])):
            return None
        held = decode_cache.load(place.parent, facts["pixels"])
        if held is None:
            return None
        classes, notes = tuple(facts["classes"]), tuple(facts["notes"])
        return Seen(classes, held.pixels, arrays["labels"], arrays["splits"], facts["sha256"], notes)
    except (KeyError, TypeError):
        return None


def remember(place: Path, looked: Look, seen: Seen, pixels: str, beside: Iterable[Path]) -> None:
    """Keep at `place` what the folder gave that looked so; its pixels are in the cache under the name `pixels`.

    `beside` are files of the cache that it follows from: where one is written again, the folder is read again.
    """
    if looked.settled:
        facts = {
            "look": looked.sha256, "beside": _beside(beside), "pixels": pixels, "classes": seen.classes,
            "sha256": seen.sha256, "notes": seen.notes,
        }  # fmt: skip
        _write(place, facts, labels=seen.labels, splits=seen.splits)


def probe(root: Path, paths: Sequence[str], workers: int, cache: Path, *, anew: bool = False) -> list[Probe]:
    """As `decoded.probe`, but of those files alone that were not seen before as they are now; of all with `anew`."""
    began, place = time.time_ns(), files_of(root, cache)
    stamps = {path: _stamp(root / path) for path in paths}
    known = {} if anew else _probes(place)
    found = {path: held for path, (stamp, held) in known.items() if stamps.get(path) == stamp}
    fresh = [path for path in paths if path not in found]
    found |= zip(fresh, decode_cache.probe(root, fresh, workers), strict=True)
    kept = [(path, *stamp) for path, stamp in stamps.items() if stamp and stamp[1] < began - YOUNG_NS]
    if fresh and kept:
        held = [(found[path].sha256, *found[path].size, found[path].reason) for path, *_ in kept]
        _write(place, {"files": [(*one, *other) for one, other in zip(kept, held, strict=True)]})
    return [found[path] for path in paths]


def place_of(root: Path, cache: Path, what: str, *asked: object) -> Path:
    """Where it is kept what the folder at that place gave when it was asked so."""
    where = root.resolve()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", where.name) or "root"
    key = hashlib.sha256(repr((FORM, os.fsencode(where), *asked)).encode()).hexdigest()
    return cache / f"{name}-{key[:8]}-{what}.npz"


def files_of(root: Path, cache: Path) -> Path:
    """Where it is kept what the folder's files were."""
    return place_of(root, cache, "files")


def _probes(place: Path) -> dict[str, tuple[Stamp, Probe]]:
    facts, _ = _read(place)
    try:
        return {path: ((size, changed), Probe(sha256, (height, width), reason))
                for path, size, changed, sha256, height, width, reason in facts["files"]}  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return {}


def _stamp(path: Path) -> Stamp | None:
    try:
        held = os.stat(path, follow_symlinks=False)  # noqa: PTH116 (of each of many thousand files)
    except OSError:
        return None
    return held.st_size, held.st_mtime_ns


def _beside(paths: Iterable[Path]) -> dict[str, list[int]]:
    return {str(path): list(stamp) for path in paths if (stamp := _stamp(path))}


def _write(place: Path, facts: dict[str, Any], **arrays: NDArray[Any]) -> None:
    with files.atomic(place, "wb") as file:
        np.savez(file, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def _read(place: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `_write` wrote, whose sums the archive holds; nothing where it is not whole."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        facts = json.loads(arrays.pop("facts").tobytes())
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError):
        return {}, {}
    return (facts if isinstance(facts, dict) else {}), arrays
