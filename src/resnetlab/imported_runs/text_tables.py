"""Readers of CSV files with any separator, exports of Weights & Biases, and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnetlab.errors import input_error, shorten, suggest
from resnetlab.files import sha256
from resnetlab.imported_runs.raw_table import RUN_COLUMN, RawTable, Row
from resnetlab.messages import format_count
from resnetlab.nested import flatten_table

MAX_TABLE_BYTES = 200_000_000
"""Largest table that is read."""

UNFINISHED_LINE = (
    "The last line of the file has no end: if the file was cut off, the last row may be wrong."
)

SEPARATORS = (",", ";", "\t", "|")

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?( ?%)?", re.IGNORECASE)

_WANDB_CURVE = re.compile(r"(?P<run>.+) - (?P<metric>[^ ].*)")
_WANDB_EDGE = re.compile(r".*__(MIN|MAX)")
"""Columns that the export of a chart of Weights & Biases has beside each curve."""


def read_csv(path: Path) -> RawTable:
    """Read a CSV file with a header line. Raises InputError if it is no table.

    The separator is the one of comma, semicolon, tab and bar that the header has most often. UTF-8
    and UTF-16 with a byte order mark are recognized.
    """
    text = _read_table_text(path)
    header = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    separator = max(SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if any(cells) or len(cells) > 1:  # an empty line is no row
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        message = f"not CSV: {error}"
        fix = "close each quotation mark, or export the table again"
        raise input_error(f"{path}:{reader.line_num}", message, fix) from None
    if not rows:
        raise input_error(str(path), "an empty file", "give a table with a header line")
    names = [name.strip() for name in rows[0][1]]
    _check_names(path, names)
    for number, cells in rows[1:]:
        if len(cells) != len(names):
            raise input_error(
                f"{path}:{number}",
                f"{len(cells)} cells, and the header has {len(names)}",
                "give each row a cell for each column, and quote a cell with the separator in it",
            )
    table = RawTable(
        where=str(path),
        columns=tuple(names),
        rows=tuple(
            Row(
                f"row {number}",
                {name: _cell(text, separator) for name, text in zip(names, cells, strict=True)},
            )
            for number, cells in rows[1:]
        ),
        files={path.name: sha256(path)},
        reading=() if text.endswith(("\n", "\r")) else (UNFINISHED_LINE,),
    )
    return _from_wandb_chart(table)


def read_json(path: Path) -> RawTable:
    """Read JSON lines, or a JSON list, of one object a row.

    Raises InputError if a line is no object.

    Nested objects become columns with dotted names.
    """
    text = _read_table_text(path)
    values: Iterable[tuple[int, Any]]
    if text.lstrip().startswith("["):
        values = enumerate(_parse_json(text, str(path)), 1)
    else:
        values = [
            (number, _parse_json(line, f"{path}:{number}"))
            for number, line in enumerate(text.split("\n"), 1)
            if line.strip()
        ]
    rows = []
    for number, value in values:
        if not isinstance(value, dict):
            fix = 'write each row as an object: {"model": "A", "seed": 0, "accuracy": 91.2}'
            raise input_error(f"{path}:{number}", "not an object", fix, got=shorten(str(value), 80))
        rows.append(Row(f"row {number}", flatten_table(value)))
    return table_of_rows(str(path), rows, {path.name: sha256(path)})


def table_of_rows(where: str, rows: Sequence[Row], files: dict[str, str]) -> RawTable:
    """Return a table of rows that may have different columns."""
    columns = dict.fromkeys(name for row in rows for name in row.cells)
    if not columns:
        raise input_error(where, "an empty table", "give a table with a row for each run")
    return RawTable(where, tuple(columns), tuple(rows), files)


def _read_table_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TABLE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        fix = "give the path of a table that exists"
        raise input_error(str(path), f"cannot be read: {reason}", fix) from None
    if len(content) > MAX_TABLE_BYTES:
        message, fix = f"larger than {MAX_TABLE_BYTES:,} bytes", "export the last epochs alone"
        raise input_error(str(path), message, fix)
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise input_error(str(path), "not text in UTF-8", "save it as UTF-8") from None
    if "\0" in text:
        raise input_error(str(path), "not a text file", "give a table in CSV or JSON lines")
    return text


def _cell(text: str, separator: str) -> str | None:
    """Return a cell, None if it is empty. A decimal comma becomes a point.

    Where a comma separates the cells, `"1,234"` in quotes may be a thousand, and is no number.
    """
    cell = text.strip()
    if separator != "," and _DECIMAL_COMMA.fullmatch(cell):
        cell = cell.replace(",", ".")
    return cell or None


def _check_names(path: Path, names: Sequence[str]) -> None:
    empty = next((number for number, name in enumerate(names, 1) if not name), None)
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if empty is not None and empty > 1:
        raise input_error(str(path), f"column {empty} has no name", "name it in the header line")
    if empty == 1:  # pandas writes its index so
        fix = "name the first column in the header line, or export without an index"
        raise input_error(str(path), "column 1 has no name", fix)
    if twice is not None:
        raise input_error(
            str(path), "two columns have one name", "give each column its name", field=twice
        )


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        fix = "give JSON lines (an object a line), a JSON list, or CSV"
        raise input_error(where, f"not JSON: {error}", fix) from None


def _from_wandb_chart(table: RawTable) -> RawTable:
    """Return the rows of an exported chart of Weights & Biases, which has a column for each run.

    Its columns are a step and, for each run, `RUN - METRIC` with `RUN - METRIC__MIN` and `__MAX`.
    Another table is returned unchanged.
    """
    curves = {
        name: match
        for name in table.columns[1:]
        if not _WANDB_EDGE.fullmatch(name) and (match := _WANDB_CURVE.fullmatch(name))
    }
    edges = [name for name in table.columns if _WANDB_EDGE.fullmatch(name)]
    if not curves or len(curves) + len(edges) + 1 != len(table.columns):
        return table
    metrics = dict.fromkeys(match["metric"] for match in curves.values())
    step, metric = table.columns[0], next(iter(metrics))
    if len(metrics) > 1:
        fix = suggest(metric, list(metrics)[1:]) or "export a chart of one metric"
        raise input_error(table.where, "curves of several metrics", fix, got=", ".join(metrics))
    rows = [
        Row(
            f"{row.origin}, column {name}",
            {RUN_COLUMN: match["run"], step: row.cells[step], metric: row.cells[name]},
            match["run"],
        )
        for name, match in curves.items()
        for row in table.rows
        if row.cells[name] is not None
    ]
    silent = [
        m["run"] for name, m in curves.items() if all(r.cells[name] is None for r in table.rows)
    ]
    rows += [
        Row(f"column {run} - {metric}", {RUN_COLUMN: run, step: None, metric: None}, run)
        for run in silent
    ]
    sentence = (
        f"A chart exported by Weights & Biases: {format_count(len(curves), 'run')} of {metric} "
        f"over {step}; the {format_count(len(edges), 'column')} of minima and maxima are not used."
    )
    return replace(
        table,
        columns=(RUN_COLUMN, step, metric),
        rows=tuple(rows),
        reading=(*table.reading, sentence),
        value_column=metric,
        epoch_column=step,
    )
