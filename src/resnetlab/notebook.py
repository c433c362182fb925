"""Objects in notebooks: a short text and a small HTML table for each, and a progress bar.

The HTML has no color and no font of its own, so that it suits light and dark themes. All text is
escaped. Imports IPython only in a notebook.
"""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from resnetlab.errors import escape_controls
from resnetlab.messages import ItemCallback, Notify, ProgressLine, silent

T = TypeVar("T")

MAX_ROWS = 20
"""Number of rows of a table that a notebook shows. A line counts the others."""

MAX_TEXT_LENGTH = 160
"""Number of characters of a detail in a short text."""

MAX_CELL_LENGTH = 400
"""Number of characters of a cell in a notebook."""


@dataclass(frozen=True)
class ObjectSummary:
    """Summary of an object: a title, details and lines, and a table that only a notebook shows."""

    title: str
    details: Mapping[str, object] = field(default_factory=dict)
    header: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    lines: Sequence[str] = ()
    notes: Sequence[str] = ()

    def to_text(self, class_name: str) -> str:
        """Return the title in a line, and the details and lines below it."""
        details = [f"{name}: {format_cell(value)}" for name, value in self.details.items()]
        below = [
            _shorten(" ".join(line.split()), MAX_TEXT_LENGTH) for line in (*details, *self.lines)
        ]
        title = _shorten(" ".join(self.title.split()), MAX_TEXT_LENGTH)
        return "\n  ".join(map(escape_controls, [f"{class_name}({title})", *below]))

    def to_html(self) -> str:
        """Return the title, the details, the lines, the table and the notes as HTML."""
        parts = [f"<strong>{_escape(self.title)}</strong>"]
        if self.details:
            details = [(name, format_cell(value)) for name, value in self.details.items()]
            parts.append(_html_table((), details))
        parts += [f"<div>{_escape(line)}</div>" for line in self.lines]
        if self.rows:
            parts.append(_html_table(self.header, self.rows))
        parts += [f"<div><small>{_escape(note)}</small></div>" for note in self.notes]
        return f"<div>{''.join(parts)}</div>"


def with_summary(cls: type[T]) -> type[T]:
    """Give a class a short `__repr__` and, in notebooks, an HTML table, both from its `_summary`.

    It is a decorator outside that of a dataclass. `_summary` returns an `ObjectSummary`.
    """

    def text(self: Any) -> str:
        return self._summary().to_text(type(self).__name__)  # type: ignore[no-any-return]

    def table(self: Any) -> str:
        return self._summary().to_html()  # type: ignore[no-any-return]

    cls.__repr__ = text  # type: ignore[method-assign]
    cls._repr_html_ = table  # type: ignore[attr-defined]
    return cls


def format_cell(value: object) -> str:
    """Format a value for a cell: `1,797`, `0.001`, `16 x 32 x 32`, nothing for None."""
    match value:
        case None:
            return ""
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return " x ".join(map(format_cell, value))
        case Mapping():
            return ", ".join(f"{key} {format_cell(item)}" for key, item in value.items())
        case _:
            return str(value)


def _html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table of at most `MAX_ROWS` rows. Columns of numbers are aligned on the right."""
    first = rows[:MAX_ROWS]
    sides = [
        "right" if all(map(_is_number, column)) else "left" for column in zip(*first, strict=True)
    ]
    head = _html_row("th", header, sides)
    lines = [_html_row("td", map(format_cell, row), sides) for row in first]
    more = len(rows) - MAX_ROWS
    note = f"<div><small>... and {more:,} more rows</small></div>" if more > 0 else ""
    return f"<table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table>{note}"


def _html_row(tag: str, texts: Iterable[str], sides: Sequence[str]) -> str:
    cells = [
        f'<{tag} style="text-align:{side}">{_escape(_shorten(text, MAX_CELL_LENGTH))}</{tag}>'
        for text, side in zip(texts, sides, strict=False)  # there may be no header
    ]
    return f"<tr>{''.join(cells)}</tr>" if cells else ""


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _escape(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


# Progress
# --------------------------------------------------------------------------------------------------


UPDATE_SECONDS = 0.5
"""Time between two updates of a bar."""

MAX_LINES = 12
"""Number of lines, the latest ones, that remain above the bar of a notebook."""


@dataclass(frozen=True)
class Bar:
    """Progress bar of a task: its share of the work that is done, 0 to 1, and a text."""

    label: str
    share: float
    text: str


def is_notebook() -> bool:
    """Return True if this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


class NotebookOutput:
    """Output of a notebook's cell that each call replaces: the latest lines, and bars below them.

    The output needs no widget. The lines remain in the notebook when the work ends.
    """

    def __init__(self, show: Callable[..., Any] | None = None) -> None:
        self.show = show or sys.modules["IPython"].display.display
        self.handle: Any = None
        self.lines: list[str] = []
        self.last_update = 0.0

    def print_line(self, line: str) -> None:
        """Show a line, without bars."""
        self.lines.append(line)
        self.last_update = 0.0
        self.update(())

    def update(self, bars: Sequence[Bar]) -> None:
        """Show the latest lines and these bars, at most twice a second."""
        now = time.monotonic()
        if bars and now - self.last_update < UPDATE_SECONDS:
            return
        self.last_update = now if bars else 0.0
        rows = [
            f'<tr><td style="text-align:left">{_escape(bar.label)}</td>'
            f'<td><progress max="1" value="{bar.share:.4f}"></progress></td>'
            f'<td style="text-align:left">{_escape(bar.text)}</td></tr>'
            for bar in bars
        ]
        latest = self.lines[-MAX_LINES:]
        lines = "".join(f"<div>{_escape(line)}</div>" for line in latest)
        table = f"<table><tbody>{''.join(rows)}</tbody></table>" if rows else ""
        text = "\n".join([*latest, *(f"{bar.label}: {bar.text}" for bar in bars)])
        data = {"text/html": f"<div>{lines}{table}</div>", "text/plain": text}
        if self.handle is None:
            self.handle = self.show(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)

    def show_items(self, title: str, done: int, total: int) -> None:
        """Show the progress of a task in items; the bar goes away at the end."""
        bar = Bar(title, done / max(1, total), f"{done:,} of {total:,}")
        self.update([bar] if done < total else [])


def progress_callbacks(progress: bool) -> tuple[Notify, ItemCallback]:
    """Return the functions that show messages and the progress of items; without `progress`,
    functions that show nothing.

    They write into the output of a notebook's cell, or to standard error.
    """
    if not progress:
        return silent, silent
    if is_notebook():
        output = NotebookOutput()
        return output.print_line, output.show_items
    return print_note, ProgressLine()


def print_note(line: str) -> None:
    """Print a line about slow work: below a notebook's cell, or to standard error."""
    print(line, file=None if is_notebook() else sys.stderr, flush=True)
