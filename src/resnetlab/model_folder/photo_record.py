"""Record of the photographs of a model: their paths, labels, splits and hashes. Free of torch.

The record is in the cache of the output folder and not in the model folder, since it contains paths
of this machine. `resnetlab extend` finds the photographs of the old classes by it, and `resnetlab
evaluate` those that the model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from resnetlab.data.config import Split
from resnetlab.errors import InputError
from resnetlab.files import MAX_GENERATED_BYTES, read_json, write_json
from resnetlab.schema import decode, encode, strict_dataclass

FOLDER = "photographs"
"""Name of the folder of the records in the cache."""


@strict_dataclass
class RecordedPhoto:
    """Photograph of a record; `height` and `width` are those of its file in pixels."""

    path: str
    label: str
    split: Split
    sha256: str
    height: int
    width: int


@strict_dataclass
class RecordedFolder:
    """Folder of photographs of a record."""

    root: str
    follow_links: bool
    photographs: tuple[RecordedPhoto, ...]


@strict_dataclass
class PhotoRecord:
    """Photographs of a model, in one folder or more."""

    folders: tuple[RecordedFolder, ...]


def save_photo_record(cache: Path, weights_sha256: str, record: PhotoRecord) -> None:
    """Write the record of the model with these weights into the cache folder."""
    write_json(_path(cache, weights_sha256), encode(record))


def read_photo_record(cache: Path, weights_sha256: str) -> PhotoRecord | None:
    """Return the record of the model with these weights; None if it is absent or damaged."""
    path = _path(cache, weights_sha256)
    if not path.is_file():
        return None
    try:
        record: PhotoRecord = decode(PhotoRecord, read_json(path, MAX_GENERATED_BYTES), str(path))
    except InputError:
        return None
    return record


def splits_by_content(cache: Path, weights: Iterable[str]) -> dict[str, Split]:
    """Return the split of each photograph in the training of models, by the SHA-256 of its file.

    Args:
        cache: Cache of the output folder.
        weights: SHA-256 of the weights of each model. A model without a record adds nothing.

    Returns:
        The splits; `train` for a photograph that is in several splits, if it is in one train split.
    """
    splits: dict[str, Split] = {}
    order: tuple[Split, ...] = ("test", "validation", "train")
    for record in filter(None, (read_photo_record(cache, digest) for digest in weights)):
        for photo in (photo for folder in record.folders for photo in folder.photographs):
            known = splits.get(photo.sha256, photo.split)
            splits[photo.sha256] = max(known, photo.split, key=order.index)
    return splits


def _path(cache: Path, weights_sha256: str) -> Path:
    return cache / FOLDER / f"{weights_sha256[:32]}.json"
