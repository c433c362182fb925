"""Reader of a folder's tables of labels: columns of paths, of classes, and optionally of splits.

A table is `labels.csv`, `metadata.csv` as of Hugging Face, JSON lines, or one table for each split,
such as `train.csv` of a competition. The separator, the encoding and the names of the columns are
recognized, and a note names the columns that are not used. Reports its mistakes.
"""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, assert_never

from resnetlab.data.class_names import is_text, lookalike_problems, normalize_name
from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, FolderChoices
from resnetlab.data.sources.folder.table_rows import HEADER_FIX, NumberedRow, table_rows
from resnetlab.data.sources.folder.tree import has_image_suffix, is_hidden
from resnetlab.data.sources.folder.types import (
    LABELS_FILE,
    SPLIT_ALIASES,
    LabeledFile,
    LabelTable,
    ScannedFile,
    SkippedFile,
    simplify,
    split_of_word,
)
from resnetlab.errors import (
    MAX_LISTED_PROBLEMS,
    InputError,
    Problem,
    input_error,
    more_problems,
    suggest,
)

RowMistake = Literal["length", "absent", "skipped", "repeated", "unlabeled", "split"]
"""Reason why a row of a table names no image."""

COLUMN_NAMES = {
    "path": ("path", "filepath", "image_path", "file", "filename", "image", "img"),
    "label": ("label", "class", "class_name", "category", "target"),
    "split": ("split", "subset", "set", "partition"),
}
"""Names by which the columns are recognized, without case, spaces, hyphens and underscores."""

ID_COLUMNS = ("image_id", "image_name", "fname", "name", "id_code", "id")
"""Names of a column of paths where no column has one of the names above; the first one counts."""

IS_VALID = simplify("is_valid")
"""Column of fastai. It gives the validation split if it has both values and no column is one of
splits; otherwise it may say that a photograph is good.
"""
IS_VALID_SPLITS = {"true": "validation", "1": "validation", "false": "train", "0": "train"}

INDEX_COLUMNS = ("", "index", "unnamed0")
"""Names of a column of row numbers, as pandas writes it."""

COLUMN_FIX = "name the columns path and label, or give --path-column NAME --label-column NAME"


@dataclass(frozen=True)
class _Table:
    """Table of labels: the positions of its columns, and its rows with their lines."""

    source: LabelTable
    columns: tuple[str, ...]
    path: int
    label: int | None
    """None in a table of images without labels."""
    split: int | None
    rows: Iterator[NumberedRow]
    group: int | None = None
    has_header: bool = True

    @property
    def unused(self) -> list[str]:
        """Names of the columns that are not used, apart from row numbers."""
        used = {self.path, self.label, self.split, self.group}
        return [
            name
            for index, name in enumerate(self.columns)
            if index not in used and simplify(name) not in INDEX_COLUMNS
        ]


class _FileFinder:
    """Lookup of the files that the walk listed: no `..`, no file outside the folder."""

    def __init__(self, root: Path, entries: Sequence[ScannedFile]) -> None:
        self._prefixes = [f"{path}/" for path in {str(root), os.path.realpath(root)}]
        self._by_path = {entry.path: entry for entry in entries}
        self._entries = entries
        self._by_form: dict[str, ScannedFile] = {}
        self._by_name: dict[str, list[ScannedFile]] = {}
        self.completed: list[tuple[str, str]] = []
        """Names without folder or suffix, and the paths that they stand for."""

    def find(self, text: str, folders: Sequence[str] = ()) -> ScannedFile | None:
        """Return the file that the cell of a table names, or None.

        A path is relative to one of `folders`, or to the root.
        """
        for path in (*(f"{folder}/{text}" for folder in folders), text):
            if entry := self._by_path.get(path):
                return entry
        return self._find_other_form(text, folders)

    def _find_other_form(self, text: str, folders: Sequence[str]) -> ScannedFile | None:
        if not self._by_form:
            for entry in self._entries:
                self._by_form[_path_form(entry.path)] = entry
                if is_hidden(entry.path):
                    continue
                name = _path_form(entry.path.rpartition("/")[2])
                for form in {name, name.rpartition(".")[0] or name}:
                    self._by_name.setdefault(form, []).append(entry)
        path = _path_form(text)
        for prefix in self._prefixes:
            path = path.removeprefix(_path_form(prefix))
        if path in self._by_form or "/" in path:
            return self._by_form.get(path)
        candidates = self._by_name.get(path, [])
        inside = [entry for entry in candidates if entry.path.rpartition("/")[0] in folders]
        candidates = inside or candidates
        if len(candidates) != 1:
            return None
        self.completed.append((text, candidates[0].path))
        return candidates[0]


def read_labels(
    root: Path,
    entries: Sequence[ScannedFile],
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    tables: Sequence[LabelTable] = (LabelTable(LABELS_FILE),),
) -> tuple[list[LabeledFile], list[SkippedFile], list[str]]:
    """Return the files that the tables name, the other files with a reason, and notes.

    Raises InputError with its mistakes.
    """
    for first, second in itertools.pairwise(sorted(tables, key=lambda table: str(table.split))):
        if first.split == second.split:
            message = f"two tables of the {first.split} split: {first.path}, {second.path}"
            raise input_error(str(root), message, "keep one")
    finder = _FileFinder(root, entries)
    files: dict[str, LabeledFile] = {}
    problems: list[Problem] = []
    notes: list[str] = []
    for source in tables:
        where, unlisted = f"{root}/{source.path}", 0
        table = _read_table(root / source.path, source, folder_choices, finder)
        for line, row in table.rows:
            if table.label is None:
                break
            result = _parse_row(row, table, finder, files)
            is_found = isinstance(result, LabeledFile)  # the name of a file may be any bytes
            text = [cell for k, cell in enumerate(row) if k != table.path or not is_found]
            if not is_text("".join(text)):
                raise input_error(where, "not text in UTF-8", HEADER_FIX)
            if isinstance(result, LabeledFile):
                files[result.path] = result
            elif len(problems) < MAX_LISTED_PROBLEMS:
                problems.append(_row_problem(f"{where}:{line}", *result))
            else:
                unlisted += 1
        problems += more_problems(where, range(unlisted))
        notes += _notes(table)
    names = ", ".join(source.path for source in tables)
    where = f"{root}/{names}"
    if len({file.split is None for file in files.values()}) > 1:
        message = "some rows have a split and some have none"
        problems.append(Problem(where, message, "fill the column or remove it"))
    problems += lookalike_problems(sorted({file.label for file in files.values()}), where)
    if problems or not files:
        raise InputError(
            *problems or [Problem(where, "no rows", "give a row path,label for each image")]
        )
    table_paths = {source.path for source in tables}
    skipped = []
    for entry in entries:
        if entry.path not in files and entry.path not in table_paths:
            reason = "hidden" if is_hidden(entry.path) else entry.skip_reason or f"not in {names}"
            skipped.append(SkippedFile(entry.path, reason))
    labeled = [replace(file, label=normalize_name(file.label)) for file in files.values()]
    return labeled, skipped, [*notes, *_completion_notes(finder)]


def _notes(table: _Table) -> list[str]:
    name = table.source.path
    if table.label is None:
        return [
            f"{name} has no column of labels: its images are skipped; resnetlab predict labels them"
        ]
    notes = []
    if not table.has_header:
        notes.append(f"{name} has no header line: its columns are read as path and label")
    if table.split is not None and simplify(table.columns[table.split]) == IS_VALID:
        notes.append(f"{name}: the column {table.columns[table.split]} gives the validation split")
    if table.unused:
        return [*notes, f"columns of {name} that are not used: {', '.join(table.unused[:10])}"]
    return notes


def _completion_notes(finder: _FileFinder) -> list[str]:
    if not finder.completed:
        return []
    names = list(dict.fromkeys(finder.completed))
    text, path = names[0]
    more = len(names) - 1
    return [f'"{text}" is {path}' + (f", and {more:,} more such names" if more else "")]


def _read_table(
    path: Path, source: LabelTable, folder_choices: FolderChoices, finder: _FileFinder
) -> _Table:
    """Read the table and find its columns. Raises InputError if one is missing."""
    where = f"{path}:1"
    lines = table_rows(path)
    header = next(lines, (1, []))
    columns = _columns_without_header(header[1], source, folder_choices, finder)
    has_header = not columns
    if has_header:
        if not is_text("".join(header[1])):
            raise input_error(str(path), "not text in UTF-8", HEADER_FIX)
        columns = tuple(name.strip() for name in header[1])
    else:
        lines = itertools.chain([header], lines)
    repeated = sorted({name for name in columns if name and columns.count(name) > 1})
    if repeated:
        message = f"two columns with the same name: {', '.join(repeated)}"
        raise input_error(where, message, "give each column its own name")
    column_options = {
        "path": folder_choices.path_column,
        "label": folder_choices.label_column,
        "split": "",
    }
    if source.split in ("validation", "test") and folder_choices.label_column not in columns:
        column_options["label"] = ""  # a test table without labels
    indices = {
        kind: _find_column(columns, kind, name, where) for kind, name in column_options.items()
    }
    is_unlabeled = indices["label"] is None and source.split in ("validation", "test")
    if indices["path"] is None or (indices["label"] is None and not is_unlabeled):
        fix = COLUMN_FIX
        if any(finder.find(cell, source.folders) for cell in columns):
            fix = (
                "write path,label above it as the first line, and divide the values of a line by a "
                "comma"
            )
        message = "other columns" if columns else "no header line"
        allowed = "path,label[,split]"
        raise input_error(where, message, fix, got=",".join(columns), allowed=allowed)
    if indices["split"] is None and IS_VALID in map(simplify, columns):
        rows = list(lines)
        indices["split"], lines = _find_valid_column(columns, rows), iter(rows)
    kind, _, name = folder_choices.group.partition(":")
    group = _find_column(columns, "group", name, where) if kind == "column" else None
    return _Table(
        source,
        columns,
        indices["path"],
        indices["label"],
        indices["split"],
        lines,
        group,
        has_header,
    )


def _columns_without_header(
    first_row: Sequence[str],
    source: LabelTable,
    folder_choices: FolderChoices,
    finder: _FileFinder,
) -> tuple[str, ...]:
    """Return the columns of a list without a header line, whose first row names a file; or none.

    Its rows are a path and a label. In a list of validation or test images, a path is enough. A
    choice of columns by the user needs a header line.
    """
    columns = ("path", "label")[: len(first_row)]
    is_list = len(first_row) == 2 or (len(first_row) == 1 and source.split not in (None, "train"))
    names_column = folder_choices.path_column or folder_choices.label_column
    if not is_list or names_column or folder_choices.group.startswith("column:"):
        return ()
    if not has_image_suffix(first_row[0]) or split_of_word(first_row[-1]) is not None:
        return ()
    return columns if finder.find(first_row[0], source.folders) else ()


def _find_valid_column(columns: Sequence[str], rows: Sequence[NumberedRow]) -> int | None:
    """Return the position of the column `is_valid` if it has both of its values, or None."""
    index = [simplify(column) for column in columns].index(IS_VALID)
    words = {row[index].strip().lower() for _, row in rows if len(row) > index}
    has_both = {IS_VALID_SPLITS.get(word) for word in words} == {"train", "validation"}
    return index if has_both else None


def _find_column(columns: Sequence[str], kind: str, name: str, where: str) -> int | None:
    """Return the position of a column: the one that the user names, or else the only one with a
    known name, where `path`, `label` and `split` themselves have priority.
    """
    if name:
        if name in columns:
            return columns.index(name)
        fix = suggest(name, columns) or COLUMN_FIX
        allowed = ", ".join(columns)
        raise input_error(
            where, f"no column of this name for the {kind}", fix, got=name, allowed=allowed
        )
    simple = [simplify(column) for column in columns]
    if kind in simple:
        return simple.index(kind)
    known = [
        index for index, column in enumerate(simple) if column in map(simplify, COLUMN_NAMES[kind])
    ]
    if not known and kind == "path":
        for id_name in ID_COLUMNS:
            if simplify(id_name) in simple:
                return simple.index(simplify(id_name))
    if len(known) > 1:
        names = ", ".join(columns[index] for index in known)
        fix = f"--{kind}-column {columns[known[0]]}" if kind != "split" else "keep one of them"
        raise input_error(where, f"two columns that may be the {kind}: {names}", fix)
    return known[0] if known else None


def _parse_row(
    row: list[str], table: _Table, finder: _FileFinder, used: dict[str, LabeledFile]
) -> LabeledFile | tuple[RowMistake, str]:
    """Return the file of a row, or its mistake and the text that is wrong."""
    if len(row) != len(table.columns):
        return "length", ""
    path = row[table.path].strip()
    label = row[table.label].strip() if table.label is not None else ""
    word = row[table.split].strip() if table.split is not None else ""
    if table.split is not None and simplify(table.columns[table.split]) == IS_VALID:
        word = IS_VALID_SPLITS.get(word.lower(), word)
    folders = table.source.folders
    # A name may begin or end with a space.
    entry = finder.find(row[table.path], folders) or finder.find(path, folders)
    if entry is None:
        return "absent", path
    if entry.skip_reason:
        return "skipped", f'"{path}" is {entry.skip_reason}'
    if entry.path in used:
        return "repeated", path
    if not label:
        return "unlabeled", path
    split = split_of_word(word) if word else table.source.split
    if word and split is None:
        return "split", word
    group = row[table.group].strip() if table.group is not None else ""
    return LabeledFile(entry.path, label, split, group)


def _row_problem(where: str, mistake: RowMistake, text: str) -> Problem:
    match mistake:
        case "length":
            message = "more or fewer values than columns"
            fix = "quote a value that contains a comma"
        case "absent":
            message = f'no file "{text}" in the folder'
            fix = "write paths below the folder, or remove the row"
        case "skipped":
            message, fix = text, "put the file itself there, or remove the row"
        case "repeated":
            message, fix = f'"{text}" a second time', "keep one row for each file"
        case "unlabeled":
            message, fix = f'"{text}" has no label', "give it one, or remove the row"
        case "split":
            message = f'split "{text}" is none of train, validation, test'
            fix = suggest(text, SPLIT_ALIASES) or "train"
        case _:
            assert_never(mistake)
    return Problem(where, message, fix)


def _path_form(path: str) -> str:
    """Return the form in which paths of a table and of the system are compared."""
    return unicodedata.normalize("NFC", path.replace("\\", "/")).removeprefix("./")
