"""Rendering of tables as text, Markdown, CSV or JSON. Free of torch."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from resnetlab.schema import to_json

TableFormat = Literal["text", "markdown", "csv", "json"]

MAX_WIDTH = 100
"""Number of characters in a line of text above which titles are wrapped."""

TableRow = Mapping[str, Any]
"""Row of a table: a text, a number, a tuple of sizes, or None for each column."""


def render_table(
    rows: Sequence[TableRow],
    table_format: TableFormat,
    *,
    details: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return the rows as a table, with details and notes below it; CSV has the rows alone."""
    details = dict(details or {})
    if table_format == "json":
        return to_json({"rows": rows, **details, "notes": notes})
    names = list(rows[0]) if rows else []
    if table_format == "csv":
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_csv_value(row[name]) for name in names] for row in rows)
        return file.getvalue().rstrip("\n")
    cells = [[_format_value(row[name]) for name in names] for row in rows]
    titles = [name.replace("_", " ") for name in names]
    if table_format == "markdown":
        lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(names)}"]
        lines += [f"| {' | '.join(cell or ' ' for cell in line)} |" for line in cells]
        below = [
            f"- {name.replace('_', ' ')}: {_format_value(value)}" for name, value in details.items()
        ]
        return "\n".join(
            [*lines, *([""] if below or notes else []), *below, *(f"- {note}" for note in notes)]
        )
    widths = [max(len(line[index]) for line in [titles, *cells]) for index in range(len(names))]
    heads = [titles]
    if sum(widths) + 2 * len(widths) > MAX_WIDTH:
        widths, heads = _wrap_titles(titles, cells)
    right_aligned = [all(_is_number(row[name]) for row in rows) for name in names]
    lines = [_line(line, widths, right_aligned) for line in [*heads, *cells]] if rows else []
    name_width = max((len(name) for name in details), default=0)
    below = [
        f"{name.replace('_', ' '):{name_width}}  {_format_value(value)}"
        for name, value in details.items()
    ]
    return "\n".join([*lines, *([""] if lines and (below or notes) else []), *below, *notes])


def _wrap_titles(
    titles: Sequence[str], cells: Sequence[Sequence[str]]
) -> tuple[list[int], list[list[str]]]:
    """Return the columns' widths and the lines of their titles, which are wrapped to fit."""
    widths, columns = [], []
    for index, title in enumerate(titles):
        words = title.split() or [""]
        width = max(map(len, [*words, *(line[index] for line in cells)]))
        widths.append(width)
        columns.append(textwrap.wrap(title, width) or [""])
    height = max(map(len, columns))
    padded = [[""] * (height - len(column)) + column for column in columns]
    return widths, [list(line) for line in zip(*padded, strict=True)]


def _is_number(value: Any) -> bool:
    """Return True for a number, a text that is one, or nothing."""
    if isinstance(value, str):
        return re.fullmatch(r"-?[0-9][0-9,]*\.?[0-9]*", value) is not None
    return isinstance(value, int | float | None)


def format_size(size: Sequence[int] | None) -> str:
    """Return a size as `16x32x32`, or "" for None."""
    return "x".join(map(str, size)) if size else ""


def format_square_size(size: Sequence[int] | None) -> str:
    """Return `3` for (3, 3), and `3x5` for (3, 5)."""
    return format_size(size[:1] if size and len(set(size)) == 1 else size)


def _line(cells: Sequence[str], widths: Sequence[int], right_aligned: Sequence[bool]) -> str:
    parts = [
        c.rjust(w) if r else c.ljust(w)
        for c, w, r in zip(cells, widths, right_aligned, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _format_value(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case dict():
            return (
                ", ".join(f"{name} {_format_value(item)}" for name, item in value.items()) or "none"
            )
        case _:
            return format_size(value)


def _csv_value(value: Any) -> Any:
    if value is None:
        return ""
    return format_size(value) if isinstance(value, tuple | list) else value
