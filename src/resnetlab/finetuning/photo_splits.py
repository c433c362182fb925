"""Splits of a folder of photographs: its own, drawn ones, or a fold. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.data import stratify
from resnetlab.data.class_names import class_indices
from resnetlab.data.sources.folder.manifest import ManifestRow, SplitSpec
from resnetlab.data.sources.folder.scan import FolderScan
from resnetlab.data.sources.folder.splits import separated_copies_notes
from resnetlab.errors import input_error

VALIDATION_FRACTION = 0.15
"""Fraction of the train images for validation, if a folder has no validation split.

A folder without any split gets the same fraction.
"""


def choose_splits(
    scan: FolderScan,
    split_spec: SplitSpec | Path | None,
    *,
    no_test: bool,
    folds: int | None,
    fold: int,
) -> tuple[tuple[ManifestRow, ...], tuple[str, ...]]:
    """Return the rows of a scan with their final splits, and notes about the folder.

    The arguments are those of `open_photographs`. Without validation images, a fraction of the
    train images becomes the validation split.
    """
    notes, rows, pool = list(scan.notes), scan.rows, list(range(len(scan.rows)))
    if folds is not None:
        rows, pool, fold_note = _take_fold(scan, folds, fold)
        notes = [note for note in notes if note not in scan.split_notes]
        notes += [*scan.groups.notes(rows), fold_note]
    if no_test:
        rows = _without_test(scan, rows, split_spec)
        notes.append("no test split (--no-test): the images not in validation are for training")
    if not any(row.split == "validation" for row in rows):
        groups = scan.groups.numbers[pool]
        rows = _split_off_validation(rows, scan.classes, str(scan.root), groups)
        notes.append(
            f"{scan.root} has no validation split: {VALIDATION_FRACTION:.0%} of the train images "
            "were set apart for it, stratified by class"
        )
    notes += separated_copies_notes(rows, scan.groups)
    return rows, tuple(notes)


def _without_test(
    scan: FolderScan, rows: Sequence[ManifestRow], split_spec: SplitSpec | Path | None
) -> tuple[ManifestRow, ...]:
    """Return the rows with the images of the drawn test split in train.

    Raises InputError if the test split is the user's own.
    """
    if scan.test_is_given or split_spec is not None:
        message = "--split names a test split" if split_spec else "has a test split"
        raise input_error(str(scan.root), message, "leave --no-test out")
    return tuple(replace(row, split="train") if row.split == "test" else row for row in rows)


def _take_fold(
    scan: FolderScan, folds: int, fold: int
) -> tuple[tuple[ManifestRow, ...], list[int], str]:
    """Return the rows with one fold as the test split and the others in train, their indices in the
    scan, and a note.

    A folder's own test split is left out of the folds, and all images of a folder without one are
    divided. Raises InputError if a class has too few images or groups.
    """
    drawn = not scan.test_is_given
    pool = [k for k, row in enumerate(scan.rows) if drawn or row.split != "test"]
    indices = class_indices(scan.classes)
    labels = np.array([indices[scan.rows[k].label] for k in pool], np.int64)
    groups = scan.groups.numbers[pool]
    is_test = stratify.fold_mask(labels, scan.classes, folds, fold, 0, groups, where=str(scan.root))
    rows = tuple(
        replace(scan.rows[k], split="test" if in_fold else "train")
        for k, in_fold in zip(pool, is_test, strict=True)
    )
    used = "all images" if drawn else "the images that are not in the folder's own test split"
    return rows, pool, f"fold {fold} of {folds} (counted from 0) of {used} is the test split"


def _split_off_validation(
    rows: Sequence[ManifestRow],
    classes: tuple[str, ...],
    where: str,
    groups: NDArray[np.int64],
) -> tuple[ManifestRow, ...]:
    """Return the rows with a fraction of the train images as the validation split.

    Args:
        rows: Rows of the images.
        classes: Names of the classes.
        where: Folder for errors.
        groups: Number of the group (N,) of each row; a group stays in one split.
    """
    train = [index for index, row in enumerate(rows) if row.split == "train"]
    indices = class_indices(classes)
    labels = np.array([indices[rows[index].label] for index in train], np.int64)
    total = max(1, round(VALIDATION_FRACTION * len(train)))
    fix = "add images of each class, or give a validation split"
    drawn = stratify.stratified_mask(
        labels, classes, total, "validation", 0, where=where, fix=fix, groups=groups[train]
    )
    selected = {index for index, is_drawn in zip(train, drawn, strict=True) if is_drawn}
    return tuple(
        replace(row, split="validation") if index in selected else row
        for index, row in enumerate(rows)
    )
