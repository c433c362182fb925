"""Photographs of a folder with their labels, for the commands on labels and learning curves.

Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.class_names import class_indices
from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, FolderChoices
from resnetlab.data.paths import is_folder
from resnetlab.data.sources.folder.scan import (
    DEFAULT_IMAGE_SIZE,
    FIND_DAMAGE,
    FolderScan,
    scan_folder,
)
from resnetlab.errors import escape_controls, input_error
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.messages import Notify, silent


@dataclass(frozen=True)
class LabeledPhotos:
    """All photographs of a folder, of every split, in the order of their paths."""

    photos: PhotoSplit
    classes: tuple[str, ...]
    groups: NDArray[np.int64]
    """Number for each photograph (N,), equal for copies, near copies and a group of `--group`."""
    scan: FolderScan
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES
    skip_bad: bool = False

    @property
    def labels(self) -> NDArray[np.int64]:
        """Index of the class of each photograph (N,)."""
        return self.photos.labels

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of photographs of each class (K,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def name(self) -> str:
        """Name of the folder, with control and undecodable characters escaped."""
        return escape_controls(self.photos.root.resolve().name)


def open_labeled_photos(
    root: Path,
    *,
    cache: Path,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    skip_bad: bool = False,
    notify: Notify = silent,
) -> LabeledPhotos:
    """Open all photographs of a folder. Notes on how it was read go to `notify`.

    Raises InputError with every mistake; damaged files are mistakes unless `skip_bad` is set.
    """
    if not is_folder(root):
        fix = "give a folder of photographs, with a folder per class"
        raise input_error(str(root), "no such folder", fix)
    scan = scan_folder(
        root,
        image_size=DEFAULT_IMAGE_SIZE,
        cache=cache,
        notify=notify,
        skip_bad=skip_bad,
        folder_choices=folder_choices,
        purpose=FIND_DAMAGE,
    )
    for note in scan.notes:
        notify(f"note: {note}")
    index_of = class_indices(scan.classes)
    labels = np.array([index_of[row.label] for row in scan.rows], np.int64)
    photos = PhotoSplit(root, scan.rows, labels, folder_choices.follow_links != "no")
    return LabeledPhotos(photos, scan.classes, scan.groups.numbers, scan, folder_choices, skip_bad)
