"""Rows and columns of a table, as every reader returns them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resnetlab.errors import InputError, input_error, shorten, suggest
from resnetlab.files import json_sha256, sha256

RUN_COLUMN = "run"
"""Column of the name of a run, in tables of readers that know the name alone."""


@dataclass(frozen=True)
class Row:
    """Row of a table, with the words that name its position in the file."""

    origin: str
    """Position in the file: `row 5`, or the name of a run."""
    cells: dict[str, Any]
    run: str = ""
    """Identity of the run, such as its id or folder; empty if the reader knows its name alone."""


@dataclass(frozen=True)
class RawTable:
    """Table as its file has it. Cells are text, numbers or None."""

    where: str
    """Path of the file, for errors."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the file or of all files of the folder, by its name without other folders."""
    reading: tuple[str, ...] = ()
    """Sentences about what the reader did."""
    value_column: str = ""
    """Column of the values, if the reader knows it."""
    epoch_column: str = ""
    """Column of the epochs or steps, if the reader knows it."""

    def error(
        self, row: Row, column: str, message: str, fix: str, *, got: object = "", allowed: str = ""
    ) -> InputError:
        """Return the error of a cell, which names file, row and column."""
        return input_error(
            self.where,
            message,
            fix,
            field=f"{row.origin}, column {column}",
            got=shorten(str(got), 80),
            allowed=allowed,
        )

    def texts(self, column: str) -> Iterator[tuple[Row, str]]:
        """Yield each row with its cell of a column as text without spaces around it."""
        for row in self.rows:
            yield row, cell_text(row.cells.get(column))


def select_rows(table: RawTable, conditions: Sequence[str]) -> RawTable:
    """Return the table with the rows that have all values of conditions such as `split=test`.

    Raises:
        InputError: A condition names no column, or no row has its value.
    """
    for condition in conditions:
        column, separator, value = condition.partition("=")
        if not separator or column not in table.columns:
            fix = suggest(column, table.columns) or f"--where {table.columns[0]}=VALUE"
            allowed = ", ".join(table.columns)
            raise input_error(
                "--where", "not COLUMN=VALUE", fix, got=condition, allowed=f"columns {allowed}"
            )
        rows = tuple(row for row, text in table.texts(column) if text == value)
        if not rows:
            values = dict.fromkeys(text for _, text in table.texts(column))
            allowed = ", ".join(list(values)[:20])
            fix = suggest(value, values) or "give a value of the column"
            raise input_error("--where", "no row", fix, got=condition, allowed=allowed)
        sentence = f"{len(rows)} of {len(table.rows)} rows have {column} = {value}."
        table = replace(table, rows=rows, reading=(*table.reading, sentence))
    return table


def folder_sha256(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of some files of a folder, with their relative paths, by its name."""
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in paths}
    return {folder.resolve().name: json_sha256(hashes)}


def cell_text(value: Any) -> str:
    """Return a cell as text; empty for None. A whole number has no decimal point."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value).strip()


def parse_number(value: Any) -> float | None:
    """Return the number of a cell, or None if the cell has none.

    Text may have a percent sign. NaN and infinity are numbers.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip().removesuffix("%").rstrip()
    if "_" in text:  # Python reads 1_000 as a number, and no other program does
        return None
    try:
        return float(text)
    except ValueError:
        return None


def is_finite_number(value: Any) -> bool:
    """Return True if a cell has a finite number."""
    number = parse_number(value)
    return number is not None and math.isfinite(number)
