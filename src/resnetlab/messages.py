"""Messages and progress of slow work. Imports no other module of resnetlab."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Notify = Callable[[str], None]
"""Function that receives one line about slow work."""

ItemCallback = Callable[[str, int, int], None]
"""Function that receives the task, the number of finished items, and the number of all items."""


def silent(*_: object) -> None:
    """Ignore a message or a report of progress."""


def format_count(count: float, noun: str) -> str:
    """Format a count with its noun: `1 run`, `1,200 runs`, `2.5 epochs`, `3 classes`."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "batch")) else "s"
    return f"{count:,.10g} {noun}{ending}"


def format_duration(seconds: float) -> str:
    """Format a duration: `8.4 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def shared_runs_note(count: int) -> str:
    """Return the note that `count` runs serve two conditions."""
    verb = "is" if count == 1 else "are"
    return f"{format_count(count, 'run')} {verb} trained once for two conditions and counted once."


def truncate_lines(lines: Sequence[str], limit: int | None) -> list[str]:
    """Return at most `limit` lines (None: all), and a line with the number of the others."""
    if limit is None or len(lines) <= limit:
        return list(lines)
    return [*lines[:limit], f"  ... and {len(lines) - limit:,} more"]
