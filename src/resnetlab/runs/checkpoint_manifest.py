"""Manifest of a checkpoint: its metadata, and the size and SHA-256 of each file. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.errors import input_error
from resnetlab.files import json_sha256, read_json, sha256, write_json

MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class FileDigest:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileDigest:
        """Return the digest of a file."""
        return cls(path.stat().st_size, sha256(path))

    def fits(self, path: Path) -> bool:
        """Return True if `path` is a file with this size and this SHA-256."""
        return path.is_file() and path.stat().st_size == self.size and sha256(path) == self.sha256


@dataclass(frozen=True)
class Manifest:
    """Metadata of a checkpoint, and the digest of each of its files by name."""

    metadata: dict[str, Any]
    files: Mapping[str, FileDigest]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write MANIFEST.json, after which the checkpoint is complete."""
    files = {
        name: {"bytes": digest.size, "sha256": digest.sha256}
        for name, digest in manifest.files.items()
    }
    metadata = manifest.metadata
    table = {"metadata": metadata, "metadata_sha256": json_sha256(metadata), "files": files}
    write_json(folder / MANIFEST, table)


def read_manifest(folder: Path, fix: str = "resume from another checkpoint") -> Manifest:
    """Read MANIFEST.json of a checkpoint.

    Raises InputError with this `fix` if it is no manifest, or its metadata were changed.
    """
    table = read_json(folder / MANIFEST)
    try:
        metadata, metadata_sha256 = dict(table["metadata"]), table["metadata_sha256"]
        files = {
            # Only the name: no file outside the folder is read.
            Path(name).name: FileDigest(int(entry["bytes"]), str(entry["sha256"]))
            for name, entry in table["files"].items()
        }
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise input_error(str(folder / MANIFEST), "not a manifest", fix) from None
    if metadata_sha256 != json_sha256(metadata):
        raise input_error(str(folder / MANIFEST), "differs from its SHA-256", fix)
    return Manifest(metadata, files)
