"""Messages and progress of slow work. Imports no other module of resnetlab."""

from __future__ import annotations

import sys
import time
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


def format_estimate(seconds: float) -> str:
    """Format an estimated duration with its largest unit: `40 s`, `33 min`, `4.2 h`, `50 days`."""
    hours = seconds / 3600
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if hours < 1.5:
        return f"{round(seconds / 60)} min"
    return f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.3g} days"


def shared_runs_note(count: int) -> str:
    """Return the note that `count` runs serve two conditions."""
    verb = "is" if count == 1 else "are"
    return f"{format_count(count, 'run')} {verb} trained once for two conditions and counted once."


def truncate_lines(lines: Sequence[str], limit: int | None) -> list[str]:
    """Return at most `limit` lines (None: all), and a line with the number of the others."""
    if limit is None or len(lines) <= limit:
        return list(lines)
    return [*lines[:limit], f"  ... and {len(lines) - limit:,} more"]


FIRST_LINE_SECONDS = 1.0
"""Time before the first progress line of a step."""

LINE_SECONDS = 10.0
"""Time between two progress lines if standard error is not a terminal."""

TERMINAL_UPDATE_SECONDS = 0.2


class ProgressLine:
    """Progress of a step on standard error: one changing line on a terminal, several lines
    elsewhere.
    """

    def __init__(self) -> None:
        self.title, self.is_open = "", False
        self.start_time = self.last_print_time = 0.0
        self.first_done = 0

    def __call__(self, title: str, done: int, total: int) -> None:
        """Show the progress of the task `title` in items."""
        now = time.monotonic()
        if title != self.title:
            self.close()
            self.title, self.first_done = title, done
            self.start_time = self.last_print_time = now
        terminal = sys.stderr.isatty()
        pause = TERMINAL_UPDATE_SECONDS if terminal else LINE_SECONDS
        is_last = done == total and self.is_open
        if is_last or (
            now - self.start_time >= FIRST_LINE_SECONDS and now - self.last_print_time >= pause
        ):
            self.last_print_time, self.is_open = now, True
            line = f"{title}: {done:,} of {total:,}{self._time_left(now, done, total)}"
            print(
                f"\r\x1b[K{line}" if terminal else line,
                end="" if terminal else "\n",
                file=sys.stderr,
                flush=True,
            )
        if done == total:
            self.close()

    def close(self) -> None:
        """End the changing line, so that another line can follow."""
        if self.is_open and sys.stderr.isatty():
            print(file=sys.stderr, flush=True)
        self.title, self.is_open = "", False

    def _time_left(self, now: float, done: int, total: int) -> str:
        if done <= self.first_done or done == total:
            return ""
        seconds = (now - self.start_time) / (done - self.first_done) * (total - done)
        return f", about {format_estimate(seconds)} left"
