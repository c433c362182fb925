"""Record of the photographs of a fine-tuning, and its photographs by split. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnetlab.data.config import Split
from resnetlab.data.sources.folder.manifest import ManifestRow
from resnetlab.finetuning.dataset import PhotoDataset, PhotoSplit
from resnetlab.model_folder.photo_record import (
    PhotoRecord,
    RecordedFolder,
    RecordedPhoto,
    save_photo_record,
    splits_by_content,
)
from resnetlab.model_folder.read import read_model_file


@dataclass(frozen=True)
class LabeledSplit:
    """Photographs of one split in one folder, and the name of the class of each."""

    photo_split: PhotoSplit
    names: tuple[str, ...]


def make_folder_record(splits: Sequence[PhotoSplit]) -> RecordedFolder:
    """Return the record of the splits of one folder."""
    rows = [row for part in splits for row in part.rows]
    photographs = tuple(
        RecordedPhoto(
            path=row.path,
            label=row.label,
            split=row.split or "train",
            sha256=row.sha256,
            height=row.size[0],
            width=row.size[1],
        )
        for row in rows
    )
    root = str(splits[0].root.resolve())
    return RecordedFolder(root=root, follow_links=splits[0].follow_links, photographs=photographs)


def record_dataset(photos: PhotoDataset) -> PhotoRecord:
    """Return the record of the photographs of a fine-tuning."""
    splits = [photos.train, photos.validation, *([photos.test] if photos.has_test else [])]
    return PhotoRecord(folders=(make_folder_record(splits),))


def write_photo_record(cache: Path, model: Path, photos: PhotoDataset) -> None:
    """Write the record of the model in the folder `model`, which was fine-tuned on `photos`."""
    save_photo_record(cache, read_model_file(model).weights_sha256, record_dataset(photos))


def describe_overlap(model: Path, photos: PhotoDataset, cache: Path) -> str:
    """Return a sentence if the model in a folder was trained on, or selected by, photographs on
    which `photos` tests; "" if it was not, or if `cache` has no record of it.
    """
    recorded = splits_by_content(cache, [read_model_file(model).weights_sha256])
    splits = [recorded.get(row.sha256) for row in photos.test.rows]
    train, validation = splits.count("train"), splits.count("validation")
    if not train + validation:
        return ""
    return (
        f"{model.name} was trained on {train:,} and selected by {validation:,} of the "
        f"{len(splits):,} images of this comparison: its accuracy here is optimistic, and the "
        "p-value does not compare the two models on new images"
    )


def splits_of_record(record: PhotoRecord, split: Split) -> list[LabeledSplit]:
    """Return the photographs of one split, folder by folder.

    The labels of each `PhotoSplit` are zeros, since the indices of the classes belong to a model:
    `names` has the class of each photograph.
    """
    result = []
    for folder in record.folders:
        chosen = [photo for photo in folder.photographs if photo.split == split]
        if not chosen:
            continue
        rows = tuple(
            ManifestRow(
                photo.path, photo.label, photo.split, photo.sha256, (photo.height, photo.width)
            )
            for photo in chosen
        )
        labels = np.zeros(len(rows), np.int64)
        photo_split = PhotoSplit(Path(folder.root), rows, labels, folder.follow_links)
        result.append(LabeledSplit(photo_split, tuple(photo.label for photo in chosen)))
    return result
