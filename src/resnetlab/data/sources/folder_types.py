"""The files that a walk through a folder finds, and what becomes of each."""

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
    """What is at a path that is no folder; `hindrance` says why it cannot be an image, or is empty."""

    path: str
    hindrance: str = ""


@dataclass(frozen=True)
class Labelled:
    """A file that should be an image of class `label`; `split` is None where the folder does not say."""

    path: str
    label: str
    split: Split | None


@dataclass(frozen=True)
class Passed:
    """A file that was passed over, and why."""

    path: str
    reason: str
