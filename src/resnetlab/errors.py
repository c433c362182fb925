"""What can go wrong for a person, said in one line that carries its remedy. Imports nothing of resnetlab."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake in one place: `WHERE[: FIELD]: WHAT (got X; allowed Y). Fix: Z`."""

    where: str
    what: str
    fix: str
    field: str = ""
    got: str = ""
    allowed: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: {self.field}" if self.where and self.field else self.where or self.field
        facts = [f"got {self.got}" if self.got else "", f"allowed: {self.allowed}" if self.allowed else ""]
        inside = "; ".join(fact for fact in facts if fact)
        line = f"{place}: {self.what}" + (f" ({inside})" if inside else "")
        return printable(f"{line}. Fix: {self.fix}" if self.fix else line)


class ResnetlabError(Exception):
    """Something that a person can mend. `exit_code` is what the command line returns for it."""

    exit_code = 1

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class InputError(ResnetlabError):
    """A file, a field, an option or a folder is not what it must be. Every mistake found is in `problems`."""

    exit_code = 2


class ResourceError(ResnetlabError):
    """The disk is full or memory ran out; what was written before is whole."""

    exit_code = 4


def mistake(where: str, what: str, fix: str, *, field: str = "", got: object = "", allowed: str = "") -> InputError:
    """An `InputError` with one problem; what was got is shown in 300 letters at most."""
    text = str(got)
    shown = text if len(text) <= 300 else text[:297] + "..."
    return InputError(Problem(where, what, fix, field=field, got=shown, allowed=allowed))


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean "lr"?` for the nearest known name, or an empty string when nothing is near."""
    by_lower = {word.lower(): word for word in sorted(known)}
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    return f'did you mean "{by_lower[match[0]]}"?' if match else ""


def printable(text: str) -> str:
    """`text` with control and undecodable characters escaped: a file's name cannot drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
