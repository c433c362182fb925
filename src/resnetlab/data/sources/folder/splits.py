"""Splits of a folder of images: those of the folder, drawn ones, or those of a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from resnetlab.data.config import SPLITS
from resnetlab.data.sources.folder import manifest
from resnetlab.data.sources.folder.grouping import ImageGroups
from resnetlab.data.sources.folder.layout import FolderListing
from resnetlab.data.sources.folder.manifest import ManifestRow, SplitSpec
from resnetlab.errors import InputError, Problem
from resnetlab.messages import format_count


def assign_splits(
    rows: list[ManifestRow],
    listing: FolderListing,
    cache: Path,
    split: SplitSpec | Path | None,
    groups: ImageGroups,
) -> tuple[tuple[ManifestRow, ...], tuple[str, ...]]:
    """Return the rows with their splits, and notes on splits that were drawn.

    Args:
        rows: Usable images, with the splits that the folder gives.
        listing: Listing of the folder.
        cache: Folder of the manifest that keeps drawn splits.
        split: Fractions by which new splits are drawn, or the path of a manifest that they
            follow, or None for the splits of the folder.
        groups: Groups that a draw keeps together.

    Raises:
        InputError: A class has too few images, or the manifest does not fit.
    """
    classes, root = listing.classes, listing.root
    notes: tuple[str, ...]
    match split:
        case None:
            path = manifest.splits_path(root, [row.path for row in rows], cache, groups.key)
            complete, drawn = manifest.fill_missing_splits(
                rows, classes, root, path, lambda: groups.numbers
            )
            notes = (*drawn, *groups.notes(complete)) if drawn else _unused_rule_note(rows, groups)
        case SplitSpec():
            complete = manifest.resplit(rows, classes, root, split, groups.numbers)
            notes = (*groups.notes(complete), *_test_split_note(rows, complete, split))
        case Path():
            complete = manifest.apply_manifest(rows, listing.root, split)
            _check_all_in_train(complete, split)
            notes = _unused_rule_note(complete, groups)
    return complete, notes


def separated_copies_notes(rows: Sequence[ManifestRow], groups: ImageGroups) -> list[str]:
    """Return a note for each split with copies of train images: its accuracy is too high."""
    totals = Counter(row.split for row in rows)
    return [
        f"{count:,} of {totals[split]:,} {split} images have a copy or near copy in train, so that "
        f"the {split} accuracy is too high; resnetlab data describe lists them"
        for split, count in groups.separated_copies(rows).items()
    ]


def _unused_rule_note(rows: Sequence[ManifestRow], groups: ImageGroups) -> tuple[str, ...]:
    """Return a note if a rule for groups changes nothing, because every split is given."""
    if not groups.text or {row.split for row in rows} != set(SPLITS):
        return ()
    note = f"--group {groups.text} changes nothing: {groups.root} gives all three splits"
    return (f"{note} (resnetlab data split draws others)",)


def _test_split_note(
    rows: Sequence[ManifestRow], complete: Sequence[ManifestRow], split: SplitSpec
) -> tuple[str, ...]:
    """Return a note on what new splits do with a test split that the folder has."""
    given = sum(row.split == "test" for row in rows)
    if not given:
        return ()
    if split.keep_test:
        note = f"the test split of the folder ({format_count(given, 'image')}) is kept"
        return (f"{note}; --redraw-test draws a new one",)
    moved = sum(old.split == "test" != new.split for old, new in zip(rows, complete, strict=True))
    return (f"new splits: {moved:,} of the folder's {given:,} test images are in another split",)


def _check_all_in_train(rows: Sequence[ManifestRow], path: Path) -> None:
    """Raise InputError for each class that the manifest at `path` leaves without a train image."""
    train_classes = {row.label for row in rows if row.split == "train"}
    untrained = sorted({row.label for row in rows} - train_classes)
    fix = "give it train images, or remove it"
    if untrained:
        raise InputError(
            *(Problem(str(path), f'class "{name}" is not in train', fix) for name in untrained)
        )
