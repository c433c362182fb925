"""Plain values as text, Markdown, CSV or JSON. Free of torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from resnetlab.codec import json_text

Form = Literal["text", "markdown", "csv", "json"]

Row = Mapping[str, Any]
"""A value a column: a text, a number, a tuple of sizes, or None."""


def render(
    rows: Sequence[Row], form: Form, *, facts: Mapping[str, Any] | None = None, notes: Sequence[str] = ()
) -> str:
    """The rows as a table, with facts and notes below it; CSV has the rows alone."""
    facts = dict(facts or {})
    if form == "json":
        return json_text({"rows": rows, **facts, "notes": notes})
    names = list(rows[0]) if rows else []
    if form == "csv":
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_bare(row[name]) for name in names] for row in rows)
        return file.getvalue().rstrip("\n")
    cells = [[_text(row[name]) for name in names] for row in rows]
    titles = [name.replace("_", " ") for name in names]
    if form == "markdown":
        lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(names)}"]
        lines += [f"| {' | '.join(cell or ' ' for cell in line)} |" for line in cells]
        below = [f"- {name.replace('_', ' ')}: {_text(value)}" for name, value in facts.items()]
        return "\n".join([*lines, *([""] if below or notes else []), *below, *(f"- {note}" for note in notes)])
    widths = [max(len(line[at]) for line in [titles, *cells]) for at in range(len(names))]
    right = [all(isinstance(row[name], int | float | None) for row in rows) for name in names]
    lines = [_line(line, widths, right) for line in [titles, *cells]] if rows else []
    wide = max((len(name) for name in facts), default=0)
    below = [f"{name.replace('_', ' '):{wide}}  {_text(value)}" for name, value in facts.items()]
    return "\n".join([*lines, *([""] if lines and (below or notes) else []), *below, *notes])


def by_size(size: Sequence[int] | None) -> str:
    """`16x32x32`; nothing of nothing."""
    return "x".join(map(str, size)) if size else ""


def square(size: Sequence[int] | None) -> str:
    """`3` of (3, 3), `3x5` of another."""
    return by_size(size[:1] if size and len(set(size)) == 1 else size)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
    return "  ".join(parts).rstrip()


def _text(value: Any) -> str:
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
            return ", ".join(f"{name} {_text(held)}" for name, held in value.items()) or "none"
        case _:
            return by_size(value)


def _bare(value: Any) -> Any:
    return by_size(value) if isinstance(value, tuple | list) else "" if value is None else value
