"""Errors that a user can fix, each in one line with the fix. Imports nothing of resnetlab."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Problem with one field or file: `WHERE[: FIELD]: MESSAGE (got X; allowed Y). Fix: Z`."""

    where: str
    message: str
    fix: str
    field: str = ""
    got: str = ""
    allowed: str = ""

    def __str__(self) -> str:
        location = (
            f"{self.where}: {self.field}" if self.where and self.field else self.where or self.field
        )
        facts = [
            f"got {self.got}" if self.got else "",
            f"allowed: {self.allowed}" if self.allowed else "",
        ]
        details = "; ".join(fact for fact in facts if fact)
        line = f"{location}: {self.message}" + (f" ({details})" if details else "")
        return escape_controls(f"{line}. Fix: {self.fix}" if self.fix else line)


class ResnetlabError(Exception):
    """Base class of the errors that a user can fix; `exit_code` is that of the command line."""

    exit_code = 1

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class InputError(ResnetlabError):
    """Error of an invalid file, field, option or folder. `problems` lists every mistake."""

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
    """Return an `InputError` with one problem. The value `got` is cut to 300 characters."""
    text = str(got)
    shortened = text if len(text) <= 300 else text[:297] + "..."
    return InputError(Problem(where, message, fix, field=field, got=shortened, allowed=allowed))


def suggest(name: str, known_names: Iterable[str]) -> str:
    """Return `did you mean "lr"?` for the most similar known name; empty if none is similar."""
    by_lower = {word.lower(): word for word in sorted(known_names)}
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    return f'did you mean "{by_lower[match[0]]}"?' if match else ""


def escape_controls(text: str) -> str:
    """Escape control and undecodable characters, so that text cannot control a terminal.

    A no-break space is kept: French text needs it.
    """
    return "".join(
        c
        if c.isprintable() or c == "\N{NO-BREAK SPACE}"
        else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )
