"""Packs: data sets as files with their SHA-256, for a room without a network. Free of torch.

A pack is a folder with one `.npz` for each data set and `manifest.json`. Its files are read by
name from `.data` of the working folder. The SHA-256 of the content is the one that runs record, so
it does not depend on the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnetlab.data.config import Source
from resnetlab.data.paths import is_folder
from resnetlab.data.sources import SOURCE_NAMES, open_source
from resnetlab.data.sources.npz import open_npz
from resnetlab.errors import input_error
from resnetlab.files import atomic_write, read_json, sha256, write_json
from resnetlab.messages import Notify, silent

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class PackedData:
    """Data set of a pack."""

    name: str
    file: str
    """Name of the file in the pack."""
    sha256: str
    """SHA-256 of the content: pixels, labels, classes and splits."""
    file_sha256: str
    bytes: int
    num_classes: int
    train_images: int
    validation_images: int
    test_images: int

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as plain values."""
        return dict(vars(self))


def write_pack(
    names: Sequence[str], folder: Path, *, cache: Path, notify: Notify = silent
) -> list[PackedData]:
    """Write data sets and their manifest into a folder.

    Args:
        names: Names of data sets, or `.npz` files. A name has priority over a folder of that name.
        folder: Folder of the pack. Data sets that it has already are replaced or kept.
        cache: Folder of caches.
        notify: Function that gets a line about slow work.

    Returns:
        The data sets of the pack, those of earlier calls too.

    Raises:
        InputError: A data set cannot be read, two have one name, or the pack is not one.
    """
    for name in names:
        if name not in SOURCE_NAMES and is_folder(name):
            problem = "is a folder of photographs, which needs no pack"
            raise input_error(name, problem, "copy the folder; `data check` prints its SHA-256")
    entries = {entry["name"]: entry for entry in _existing(folder)}
    packed = {}
    for name in names:
        source = open_source(name, cache=cache, notify=notify)
        if source.name in packed:
            fix = "rename one of the files, or give one at a time"
            raise input_error(name, "has the name of another data set", fix, got=source.name)
        notify(f"packing {source.name}")
        packed[source.name] = _write_source(source, folder)
    entries |= {name: entry.to_dict() for name, entry in packed.items()}
    write_json(folder / MANIFEST, {"data": [entries[name] for name in sorted(entries)]})
    return [PackedData(**entries[name]) for name in sorted(entries)]


def _existing(folder: Path) -> list[dict[str, Any]]:
    path = folder / MANIFEST
    if not path.exists():
        return []
    table = read_json(path)
    fields = set(PackedData.__annotations__)
    entries = table.get("data") if isinstance(table, dict) else None
    if not isinstance(entries, list) or any(
        not isinstance(entry, dict) or set(entry) != fields for entry in entries
    ):
        raise input_error(str(path), "not a manifest of data sets", "give another --out")
    return entries


def _write_source(source: Source, folder: Path) -> PackedData:
    arrays: dict[str, Any] = {
        "x_train": source.train.pixels,
        "y_train": source.train.labels,
        "x_test": source.test.pixels,
        "y_test": source.test.labels,
        "classes": np.array(source.classes),
    }
    if source.validation is not None:
        arrays |= {
            "x_validation": source.validation.pixels,
            "y_validation": source.validation.labels,
        }
    if source.about:
        arrays["about"] = np.array(source.about)
    path = folder / f"{source.name}.npz"
    with atomic_write(path, "wb") as file:
        np.savez(file, **arrays)
    if open_npz(path).sha256 != source.sha256:
        raise input_error(str(path), "has other content than its source", "pack it again")
    return PackedData(
        name=source.name,
        file=path.name,
        sha256=source.sha256,
        file_sha256=sha256(path),
        bytes=path.stat().st_size,
        num_classes=len(source.classes),
        train_images=len(source.train),
        validation_images=len(source.validation) if source.validation is not None else 0,
        test_images=len(source.test),
    )
