"""Types for the files of a folder of images: entry, labeled file and skipped file."""

from __future__ import annotations

from dataclasses import dataclass

from resnetlab.data.config import Split

WORDS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


LABELS = "labels.csv"


@dataclass(frozen=True)
class Entry:
    """File of a folder; `hindrance` is the reason why it cannot be an image, or empty."""

    path: str
    hindrance: str = ""


@dataclass(frozen=True)
class Labelled:
    """File that should be an image of class `label`; `split` is None if the folder does not tell
    it.
    """

    path: str
    label: str
    split: Split | None


@dataclass(frozen=True)
class Passed:
    """File that was skipped, with the reason."""

    path: str
    reason: str
