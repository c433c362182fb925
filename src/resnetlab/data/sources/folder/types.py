"""Types for the files of a folder of images: scanned file, labeled file and skipped file."""

from __future__ import annotations

from dataclasses import dataclass

from resnetlab.data.config import Split

_SPLIT_WORDS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "trains"),
    "validation": ("validation", "valid", "val", "validate", "dev", "validations", "vals"),
    "test": ("test", "testing", "tests"),
}

SPLIT_ALIASES: dict[str, Split] = {
    word: split for split, words in _SPLIT_WORDS.items() for word in words
}
"""Words for the splits, in lower case. Their case and spaces around them do not matter."""

_IMAGE_WORDS = ("images", "image", "imgs", "img", "photos", "pictures", "pics", "data")
"""Words that follow the word of a split in the name of a folder, as in `train_images`."""

LAYOUT_HINT = (
    "lay it out as FOLDER/train/CLASS/*.jpg and FOLDER/test/CLASS/*.jpg, or as FOLDER/CLASS/*.jpg, "
    "or with a table FOLDER/labels.csv of path,label"
)

FOLLOW_HINT = "--follow-links anywhere"

LABELS_FILE = "labels.csv"
TABLE_FILES = (LABELS_FILE, "labels.tsv", "labels.jsonl", "metadata.csv", "metadata.jsonl")
"""Names of a table of labels, the first of which has priority over folders of classes."""

LABELS_LIST = "labels.txt"
"""Name of a table of labels if there is no other; some tools write the names of classes there."""

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
LIST_SUFFIX = ".txt"


def split_of_word(word: str) -> Split | None:
    """Return the split that a word names, such as `Training` or `val`, or None."""
    return SPLIT_ALIASES.get(word.strip().lower())


def split_of_image_folder(name: str) -> Split | None:
    """Return the split of a folder such as `train_images` or `Test-Set`, or None.

    Such a name is that of no class.
    """
    words = name.strip().lower().replace("-", "_").replace(" ", "_").split("_")
    is_pair = len(words) == 2 and words[1] in _IMAGE_WORDS
    return SPLIT_ALIASES.get(words[0]) if is_pair else None


def split_of_folder(name: str) -> Split | None:
    """Return the split that the name of a folder says: `train`, `Test-Images`, or None."""
    return split_of_word(name) or split_of_image_folder(name)


def simplify(name: str) -> str:
    """Return a name without case, spaces, hyphens and underscores, by which names are compared."""
    return "".join(char for char in name.casefold() if char.isalnum())


@dataclass(frozen=True)
class ScannedFile:
    """File of a folder; `skip_reason` is the reason why it cannot be an image, or empty."""

    path: str
    skip_reason: str = ""
    links_to_folder: bool = False


@dataclass(frozen=True)
class LabeledFile:
    """File that should be an image of class `label`; `split` is None if the folder names none."""

    path: str
    label: str
    split: Split | None
    group: str = ""
    """Value of the column of `labels.csv` that gives groups, or empty."""


@dataclass(frozen=True)
class LabelTable:
    """File with the labels of images: `path` below the root, and the `split` of all its images, or
    None. Paths in it are relative to `folder` or to the root.
    """

    path: str
    split: Split | None = None
    folder: str = ""

    @property
    def folders(self) -> list[str]:
        """Folders that its paths may be relative to, before the root."""
        return [self.folder] if self.folder else []


@dataclass(frozen=True)
class SkippedFile:
    """File that was skipped, with the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class BadFile:
    """Image file that cannot be used, with the reason."""

    path: str
    sha256: str
    reason: str
