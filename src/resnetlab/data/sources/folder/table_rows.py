"""Rows of a table of labels: CSV with any separator, or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resnetlab.errors import input_error

MAX_BYTES = 500_000_000
SEPARATORS = ",;\t|"
HEADER_FIX = "write a header line path,label or path,label,split and a row for each image, in UTF-8"

NumberedRow = tuple[int, list[str]]
"""Row of a table, after the number of its last line."""


def table_rows(path: Path) -> Iterator[NumberedRow]:
    """Yield the rows of a table, its header first.

    Raises InputError if the file cannot be read.
    """
    text = _read_text(path)
    return _json_rows(text, path) if path.suffix == ".jsonl" else _csv_rows(text, path)


def _csv_rows(text: str, path: Path) -> Iterator[NumberedRow]:
    """Yield the rows of a table; where no separator divides the header, spaces do."""
    first = next((line for line in text.splitlines()[:20] if line.strip()), "")
    # The separator is the one that gives the header the most columns.
    try:
        columns = {mark: len(next(csv.reader([first], delimiter=mark), [])) for mark in SEPARATORS}
    except csv.Error as error:
        raise input_error(f"{path}:1", f"not a CSV table: {error}", HEADER_FIX) from error
    separator = max(SEPARATORS, key=columns.__getitem__)
    if columns[separator] == 1 and " " in first.strip():
        separator = " "
        text = "\n".join(line.strip() for line in text.split("\n"))
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    return _rows(lines, path)


def _json_rows(text: str, path: Path) -> Iterator[NumberedRow]:
    """Yield the fields of all objects, then the values of each, with the number of its line.

    A field that an object lacks is empty. Raises InputError for a line that is no object.
    """
    objects: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            item = None
        if not isinstance(item, dict) or not item:
            message, fix = "not a JSON object", 'write {"file_name": "a.jpg", "label": "cat"}'
            raise input_error(f"{path}:{number}", message, fix, got=line[:60])
        objects.append((number, item))
    if not objects:
        return
    columns = list(dict.fromkeys(name for _, item in objects for name in item))
    yield objects[0][0], columns
    for number, item in objects:
        yield number, ["" if item.get(name) is None else str(item[name]) for name in columns]


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise input_error(str(path), f"larger than {MAX_BYTES // 10**6} MB", HEADER_FIX)
        raw = path.read_bytes()
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            return raw.decode("utf-16")
        # The name of a file may be bytes that are no text; other values must be UTF-8.
        return raw.decode("utf-8-sig", "surrogateescape")
    except UnicodeDecodeError as error:
        raise input_error(str(path), "not text in UTF-8", HEADER_FIX) from error
    except OSError as error:
        raise input_error(str(path), f"cannot be read: {error.strerror}", HEADER_FIX) from error


def _rows(lines: Iterator[list[str]], path: Path) -> Iterator[NumberedRow]:
    """Yield each row that is not empty, with the number of its last line.

    Spreadsheets end a table with rows of empty values.
    """
    try:
        for row in lines:
            if any(cell.strip() for cell in row):
                yield lines.line_num, row  # type: ignore[attr-defined]
    except csv.Error as error:
        raise input_error(str(path), f"not a CSV table: {error}", HEADER_FIX) from error
