"""Types for the files of a folder of images: entry, labeled file and skipped file."""

from __future__ import annotations

from dataclasses import dataclass

from resnetlab.data.config import Split

SPLIT_ALIASES: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


LABELS_FILE = "labels.csv"


@dataclass(frozen=True)
class ScannedFile:
    """File of a folder; `skip_reason` is the reason why it cannot be an image, or empty."""

    path: str
    skip_reason: str = ""


@dataclass(frozen=True)
class LabeledFile:
    """File that should be an image of class `label`; `split` is None if the folder names none."""

    path: str
    label: str
    split: Split | None


@dataclass(frozen=True)
class SkippedFile:
    """File that was skipped, with the reason."""

    path: str
    reason: str
