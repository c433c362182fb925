"""Errors that a user can fix, each in one line with the fix. Imports nothing of resnetlab."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_LISTED_PROBLEMS = 20
"""Number of problems that an error prints. A count stands for the others."""

MAX_PART_LENGTH = 800
"""Number of characters that each part of a problem prints, except the fix: it may be a command."""

MAX_VALUE_LENGTH = 300
MAX_FIX_LENGTH = 4000


@dataclass(frozen=True)
class Problem:
    """Problem with one field or file: `WHERE[: FIELD]: MESSAGE (got X; allowed Y). Fix: Z`.

    A line of it has a bounded length, whatever a file contains.
    """

    where: str
    message: str
    fix: str
    field: str = ""
    got: str = ""
    allowed: str = ""
    count: int = 1
    """Number of mistakes for which the line stands."""

    def __str__(self) -> str:
        location = ": ".join(shorten(part) for part in (self.where, self.field) if part)
        values = [
            f"got {shorten(self.got, MAX_VALUE_LENGTH)}" if self.got else "",
            f"allowed: {shorten(self.allowed)}" if self.allowed else "",
        ]
        details = "; ".join(filter(None, values))
        line = ": ".join(filter(None, (location, shorten(self.message))))
        line += f" ({details})" if details else ""
        fix = shorten(self.fix, MAX_FIX_LENGTH)
        return escape_controls(f"{line}. Fix: {fix}" if fix else line)


class ResnetlabError(Exception):
    """Base class of the errors that a user can fix.

    `exit_code` is the exit code of the command line. The text has one line for each problem, at
    most `MAX_LISTED_PROBLEMS` of them, and then a line with the number of the others; `problems`
    has them all.
    """

    exit_code = 1

    def __init__(self, *problems: Problem) -> None:
        lines, rest = problems[:MAX_LISTED_PROBLEMS], problems[MAX_LISTED_PROBLEMS:]
        # One more is as short as a count of it.
        lines += rest if len(rest) < 2 else more_problems(problems[0].where, rest)
        super().__init__("\n".join(map(str, lines)))
        self.problems = problems

    def _render_traceback_(self) -> list[str]:
        """Return the lines that a notebook shows. The traceback would hide the fix."""
        return [f"{type(self).__name__}: {line}" for line in str(self).splitlines()]


class InputError(ResnetlabError):
    """Error of an invalid file, field, option or folder. `problems` has every mistake."""

    exit_code = 2


class UnfinishedError(ResnetlabError):
    """Error of a run that was started and has no result; `problems` give the reasons."""

    exit_code = 3


class ResourceError(ResnetlabError):
    """Error of a full disk or exhausted memory. Files that were written before are complete."""

    exit_code = 4


def input_error(
    where: str, message: str, fix: str, *, field: str = "", got: object = "", allowed: str = ""
) -> InputError:
    """Return an `InputError` with one problem."""
    return InputError(Problem(where, message, fix, field=field, got=str(got), allowed=allowed))


def more_problems(where: str, rest: Sequence[object]) -> tuple[Problem, ...]:
    """Return one problem that stands for those that an error does not list, or none."""
    count = sum(item.count if isinstance(item, Problem) else 1 for item in rest)
    fix = "correct these first"
    return (Problem(where, f"{count:,} more mistakes", fix, count=count),) if count else ()


def shorten(text: str, limit: int = MAX_PART_LENGTH) -> str:
    """Return `text`, without its middle if it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 3]}...{text[-tail:]}"


MAX_FIRST_LINE = 160
"""Number of characters of an error of another library that a message repeats."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:MAX_FIRST_LINE]


def suggest(name: str, known_names: Iterable[str]) -> str:
    """Return `did you mean "lr"?` for the most similar known name; empty if none is similar."""
    by_lower = {word.lower(): word for word in sorted(known_names)}
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    return f'did you mean "{by_lower[match[0]]}"?' if match else ""


def escape_controls(text: str) -> str:
    """Escape control and undecodable characters, so that text cannot control a terminal.

    No-break spaces are kept: French text needs them.
    """
    return "".join(
        c
        if c.isprintable() or c in "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
        else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )
