"""Choice between the classes of a table of labels and those of folders, where both are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from resnetlab.data.class_names import sort_classes
from resnetlab.data.config import FolderChoices
from resnetlab.data.sources.folder.labels_csv import read_labels
from resnetlab.data.sources.folder.tree import has_image_suffix, is_hidden
from resnetlab.data.sources.folder.types import (
    LABELS_FILE,
    LabeledFile,
    LabelTable,
    ScannedFile,
    SkippedFile,
    split_of_folder,
    split_of_image_folder,
    split_of_word,
)
from resnetlab.errors import InputError, Problem, input_error


def takes_tables(
    tables: Sequence[LabelTable], entries: list[ScannedFile], folder_choices: FolderChoices
) -> bool:
    """Return True if the tables give the classes, and not the folders."""
    names_column = folder_choices.path_column or folder_choices.label_column
    is_first = tables[0].path == LABELS_FILE
    return is_first or bool(names_column) or not _has_class_folders(entries)


def read_tables(
    root: Path,
    entries: list[ScannedFile],
    folder_choices: FolderChoices,
    tables: Sequence[LabelTable],
) -> tuple[list[LabeledFile], list[SkippedFile], list[str]]:
    """Read the tables of labels.

    Tables without splits over folders that are splits take those of the folders, if each class is
    in train. A mistake in `labels.csv` says if there are folders of classes.
    """
    try:
        files, skipped, notes = read_labels(root, entries, folder_choices, tables)
        splits = [split_of_folder(file.path.partition("/")[0]) for file in files]
        pairs = zip(files, splits, strict=True)
        trained = {file.label for file, split in pairs if split == "train"}
        is_complete = trained == {file.label for file in files} and len(set(splits)) > 1
        if any(file.split for file in files) or None in splits or not is_complete:
            return files, skipped, notes
        files = [replace(file, split=split) for file, split in zip(files, splits, strict=True)]
        names = ", ".join(sorted({file.path.split("/")[0] for file in files}))
        return files, skipped, [*notes, f"the splits are those of the folders {names}"]
    except InputError as error:
        where = f"{root}/{LABELS_FILE}"
        if error.problems[0].where != f"{where}:1" or not _has_class_folders(entries):
            raise
        fix = "rename it to take the classes from the folders"
        message = "has priority over the folders of classes"
        raise InputError(*error.problems, Problem(where, message, fix)) from None


def check_tables_agree(
    root: Path,
    entries: list[ScannedFile],
    tables: Sequence[LabelTable],
    folder_choices: FolderChoices,
    files: Sequence[LabeledFile],
) -> None:
    """Raise InputError if tables of labels divide the images into other classes than the folders.

    A table that names the same classes, perhaps in other words, that names less than half of the
    images or about each of them differently, or that cannot be read, is no such table.
    """
    try:
        rows = read_labels(root, entries, folder_choices, tables)[0] if tables else []
    except InputError:
        return
    by_table = {file.path: file.label for file in rows}
    pairs = [(by_table[file.path], file.label) for file in files if file.path in by_table]
    named, folders = {label for label, _ in pairs}, {label for _, label in pairs}
    is_table_of_classes = 2 * len(pairs) >= len(files) and 2 * len(named) <= len(pairs)
    if named == folders or not is_table_of_classes:
        return
    if len(set(pairs)) > max(len(named), len(folders)):
        table = tables[0].path
        message = (
            f"{table} has the classes {_first(named)}, and the folders are {_first(folders)}: "
            "which are meant"
        )
        fix = f"--label-column NAME takes those of {table}; move {table} away to take the folders"
        raise input_error(str(root), message, fix)


def _first(names: Iterable[str]) -> str:
    listed = sort_classes(names)
    return ", ".join(listed[:3]) + (", ..." if listed[3:] else "")


def _has_class_folders(entries: list[ScannedFile]) -> bool:
    """Return True if images lie in two folders or more that may be classes."""
    folders = set()
    for entry in entries:
        *parents, name = entry.path.split("/")
        if parents and split_of_word(parents[0]) is not None:
            parents = parents[1:]
        is_class = parents and not split_of_image_folder(parents[0])
        if is_class and not is_hidden(entry.path) and has_image_suffix(name):
            folders.add(parents[0])
    return len(folders) >= 2
