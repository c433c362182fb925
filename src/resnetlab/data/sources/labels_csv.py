"""Reader of a folder's `labels.csv`: columns of paths, of classes, and optionally of splits.

The separator, the encoding and the names of the columns are recognized, and a note names the
columns that are not used. Reports its mistakes.
"""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.data.class_names import lookalike_problems, normalize_name
from resnetlab.data.config import DEFAULT_READING, FolderReading
from resnetlab.data.sources.folder_types import (
    LABELS_FILE,
    SPLIT_ALIASES,
    LabeledFile,
    ScannedFile,
    SkippedFile,
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

MAX_BYTES = 500_000_000
SEPARATORS = ",;\t|"
COLUMN_NAMES = {
    "path": ("path", "filepath", "image_path", "file", "filename", "image", "img"),
    "label": ("label", "class", "class_name", "category", "target"),
    "split": ("split", "subset", "set", "partition"),
}
"""Names by which the columns are recognized, without case, spaces, hyphens and underscores."""

INDEX_COLUMNS = ("", "index", "unnamed0")
"""Names of a column of row numbers, as pandas writes it."""

HEADER_FIX = "write a header line path,label or path,label,split and a row for each image, in UTF-8"
COLUMN_FIX = "name the columns path and label, or give --path-column NAME --label-column NAME"


@dataclass(frozen=True)
class _Table:
    """Table of labels: the positions of its columns, and its rows with their lines."""

    columns: tuple[str, ...]
    path: int
    label: int
    split: int | None
    rows: Iterator[tuple[int, list[str]]]
    group: int | None = None

    @property
    def unused(self) -> list[str]:
        """Names of the columns that are not used, apart from row numbers."""
        used = {self.path, self.label, self.split, self.group}
        return [
            name
            for index, name in enumerate(self.columns)
            if index not in used and _simplify(name) not in INDEX_COLUMNS
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

    def find(self, text: str) -> ScannedFile | None:
        """Return the file that the cell of a table names, or None."""
        entry = self._by_path.get(text)
        return entry if entry is not None else self._find_other_form(text)

    def _find_other_form(self, text: str) -> ScannedFile | None:
        if not self._by_form:
            for entry in self._entries:
                self._by_form[_path_form(entry.path)] = entry
                if any(part.startswith(".") for part in entry.path.split("/")):
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
        if len(candidates) != 1:
            return None
        self.completed.append((text, candidates[0].path))
        return candidates[0]


def read_labels(
    root: Path, entries: Sequence[ScannedFile], reading: FolderReading = DEFAULT_READING
) -> tuple[list[LabeledFile], list[SkippedFile], list[str]]:
    """Return the files that `labels.csv` names, the other files with a reason, and notes.

    Raises InputError with its mistakes.
    """
    where = f"{root}/{LABELS_FILE}"
    table = _read_table(root / LABELS_FILE, reading)
    finder = _FileFinder(root, entries)
    files: dict[str, LabeledFile] = {}
    problems: list[Problem] = []
    unlisted = 0
    for line, row in table.rows:
        result = _parse_row(row, table, finder, files)
        if isinstance(result, LabeledFile):
            files[result.path] = result
        elif len(problems) < MAX_LISTED_PROBLEMS:
            problems.append(_row_problem(f"{where}:{line}", *result))
        else:
            unlisted += 1
    problems += more_problems(where, range(unlisted))
    if len({file.split is None for file in files.values()}) > 1:
        message = "some rows have a split and some have none"
        problems.append(Problem(where, message, "fill the column or remove it"))
    problems += lookalike_problems(sorted({file.label for file in files.values()}), where)
    if problems or not files:
        raise InputError(
            *problems or [Problem(where, "no rows", "give a row path,label for each image")]
        )
    passed = [
        SkippedFile(
            entry.path,
            "hidden"
            if entry.path.startswith(".")
            else entry.skip_reason or f"not in {LABELS_FILE}",
        )
        for entry in entries
        if entry.path not in files and entry.path != LABELS_FILE
    ]
    labeled = [replace(file, label=normalize_name(file.label)) for file in files.values()]
    return labeled, passed, _notes(table, finder)


def _notes(table: _Table, finder: _FileFinder) -> list[str]:
    notes = []
    if table.unused:
        notes.append(f"columns of {LABELS_FILE} that are not used: {', '.join(table.unused[:10])}")
    if finder.completed:
        text, path = finder.completed[0]
        more = len(finder.completed) - 1
        notes.append(f'"{text}" is {path}' + (f", and {more:,} more such names" if more else ""))
    return notes


def _read_table(path: Path, reading: FolderReading) -> _Table:
    """Read the table and find its columns. Raises InputError."""
    text = _read_text(path)
    first = next((line for line in text.splitlines()[:20] if line.strip()), "")
    # The separator is the one that gives the header the most columns.
    separator = max(SEPARATORS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    where = f"{path}:1"
    header = next(_rows(lines, path), (1, []))[1]
    columns = tuple(name.strip() for name in header)
    repeated = sorted({name for name in columns if name and columns.count(name) > 1})
    if repeated:
        message = f"two columns with the same name: {', '.join(repeated)}"
        raise input_error(where, message, "give each column its own name")
    column_options = {"path": reading.path_column, "label": reading.label_column, "split": ""}
    indices = {
        kind: _find_column(columns, kind, name, where) for kind, name in column_options.items()
    }
    if indices["path"] is None or indices["label"] is None:
        fix = COLUMN_FIX
        if any((path.parent / cell).is_file() for cell in columns if _is_name(cell)):
            fix = "write path,label above it as the first line"
        message = "other columns" if columns else "no header line"
        allowed = "path,label[,split]"
        raise input_error(where, message, fix, got=",".join(columns), allowed=allowed)
    kind, _, name = reading.group.partition(":")
    group = _find_column(columns, "group", name, where) if kind == "column" else None
    return _Table(
        columns, indices["path"], indices["label"], indices["split"], _rows(lines, path), group
    )


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise input_error(str(path), f"larger than {MAX_BYTES // 10**6} MB", HEADER_FIX)
        raw = path.read_bytes()
        is_utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        return raw.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise input_error(str(path), "not text in UTF-8", HEADER_FIX) from error
    except OSError as error:
        raise input_error(str(path), f"cannot be read: {error.strerror}", HEADER_FIX) from error


def _rows(lines: Iterator[list[str]], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, with the number of its last line."""
    try:
        for row in lines:
            if row:
                yield lines.line_num, row  # type: ignore[attr-defined]
    except csv.Error as error:
        raise input_error(str(path), f"not a CSV table: {error}", HEADER_FIX) from error


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
    simple = [_simplify(column) for column in columns]
    if kind in simple:
        return simple.index(kind)
    known = [
        index for index, column in enumerate(simple) if column in map(_simplify, COLUMN_NAMES[kind])
    ]
    if len(known) > 1:
        names = ", ".join(columns[index] for index in known)
        fix = f"--{kind}-column {columns[known[0]]}" if kind != "split" else "keep one of them"
        raise input_error(where, f"two columns that may be the {kind}: {names}", fix)
    return known[0] if known else None


def _parse_row(
    row: list[str], table: _Table, finder: _FileFinder, used: dict[str, LabeledFile]
) -> LabeledFile | tuple[str, str]:
    """Return the file of a row, or the kind of its mistake and the text that is wrong."""
    if len(row) != len(table.columns):
        return "length", ""
    path, label = row[table.path].strip(), row[table.label].strip()
    word = row[table.split].strip() if table.split is not None else ""
    entry = finder.find(path)
    if entry is None:
        return "absent", path
    if entry.skip_reason:
        return "skipped", f'"{path}" is {entry.skip_reason}'
    if entry.path in used:
        return "repeated", path
    if not label:
        return "unlabeled", path
    split = split_of_word(word)
    if word and split is None:
        return "split", word
    group = row[table.group].strip() if table.group is not None else ""
    return LabeledFile(entry.path, label, split, group)


def _row_problem(where: str, kind: str, text: str) -> Problem:
    match kind:
        case "length":
            message, fix = (
                "more or fewer values than columns",
                "quote a value that contains a comma",
            )
        case "absent":
            message, fix = (
                f'no file "{text}" in the folder',
                "write paths below the folder, or remove the row",
            )
        case "skipped":
            message, fix = text, "put the file itself there, or remove the row"
        case "repeated":
            message, fix = f'"{text}" a second time', "keep one row for each file"
        case "unlabeled":
            message, fix = f'"{text}" has no label', "give it one, or remove the row"
        case _:
            message = f'split "{text}" is none of train, validation, test'
            fix = suggest(text, SPLIT_ALIASES) or "train"
    return Problem(where, message, fix)


def _path_form(path: str) -> str:
    """Return the form in which paths of a table and of the system are compared."""
    return unicodedata.normalize("NFC", path.replace("\\", "/")).removeprefix("./")


def _is_name(cell: str) -> bool:
    return bool(cell) and "\0" not in cell and not cell.startswith(("/", ".."))


def _simplify(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())
