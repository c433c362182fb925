"""Tables of labels of a folder: one at its root, or one for each split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnetlab.data.config import Split
from resnetlab.data.sources.folder.types import (
    FOLLOW_HINT,
    LABELS_FILE,
    LABELS_LIST,
    LIST_SUFFIX,
    TABLE_FILES,
    TABLE_SUFFIXES,
    LabelTable,
    ScannedFile,
    simplify,
    split_of_folder,
    split_of_word,
)
from resnetlab.data.sources.folder.walk import LINK
from resnetlab.errors import input_error


def find_label_tables(root: Path, entries: Sequence[ScannedFile]) -> list[LabelTable]:
    """Return the tables of labels of a folder: one at its root, or one for each split.

    Raises InputError for two tables that may be the one at the root, and if `labels.csv` is a link
    that is not followed.
    """
    links = {e.path for e in entries if e.skip_reason == LINK and not e.links_to_folder}
    if LABELS_FILE in links:
        message = "a link to a table of labels, which is not followed"
        fix = f"put the file itself there, remove the link, or {FOLLOW_HINT}"
        raise input_error(f"{root}/{LABELS_FILE}", message, fix)
    names = {entry.path for entry in entries if not entry.skip_reason}
    single = [name for name in TABLE_FILES if name in names]
    if LABELS_FILE in single:
        return [LabelTable(LABELS_FILE)]
    if len(single) > 1:
        raise input_error(str(root), f"two tables of labels: {', '.join(single)}", "keep one")
    if single:
        return [LabelTable(single[0])]
    if tables := _tables_of_splits(names, TABLE_SUFFIXES):
        return tables
    # A text file is a list of labels only where no other table is: many tools write other texts.
    if lists := _tables_of_splits(names, (LIST_SUFFIX,)):
        return lists
    return [LabelTable(LABELS_LIST)] if LABELS_LIST in names else []


def _tables_of_splits(names: set[str], suffixes: Sequence[str]) -> list[LabelTable]:
    """Return the tables that are named after a split, or lie in a folder that is."""
    folders = {path.split("/")[0] for path in names if "/" in path}
    tables = []
    for path in sorted(names):
        folder, _, name = path.rpartition("/")
        stem, _, suffix = name.rpartition(".")
        split = split_of_word(folder) if folder else _split_of_table(stem)
        is_table = name in TABLE_FILES if folder else f".{suffix}" in suffixes
        if split is not None and is_table:
            image_folder = folder or next(
                (name for name in sorted(folders) if split_of_folder(name) == split), ""
            )
            tables.append(LabelTable(path, split, image_folder))
    # A table such as train_labels.csv is one of labels only if no other is named after its split.
    is_exact = {table.split for table in tables if _is_named_after_split(table.path)}
    return [one for one in tables if one.split not in is_exact or _is_named_after_split(one.path)]


def _is_named_after_split(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return bool(folder) or split_of_word(name.rpartition(".")[0]) is not None


def _split_of_table(stem: str) -> Split | None:
    """Return the split in the name of a table: `train`, with or without the word labels."""
    name = simplify(stem)
    return split_of_word(name.removesuffix("s").removesuffix("label") or name)
