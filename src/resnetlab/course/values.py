"""Values in the texts of the course. Each is a number that a command of resnetlab printed.

`catalog/course/values.toml` has the command of each value and its path in the command's JSON;
`values.json` beside it has the numbers. `docs/course.py` runs the commands and writes the numbers,
and a test runs the fast ones again. Free of torch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from resnetlab.course.texts import localize
from resnetlab.errors import input_error
from resnetlab.schema import decode, parse_toml, strict_dataclass
from resnetlab.schema_errors import FieldError
from resnetlab.translation import Language

VALUES_FILE, NUMBERS_FILE = "values.toml", "values.json"

_STEP = re.compile(
    r"""(?:\.|^)(?P<key>\w+)|\["(?P<quoted>[^"]*)"\]|\[(?P<name>\w+)=(?P<expected>[^\]]*)\]"""
    r"""|\[(?P<index>\d+)\]|(?P<product>\*)$"""
)
"""Step of a path: a key, the row in which a key has a value, the number of a row, or `*` at the end
for the product of a list.
"""
_BRACES = re.compile(r"\{([a-z][\w.-]*)(?::(\d))?\}")


@strict_dataclass
class Value:
    """Value with the command that computes it, or the committed result that has it."""

    name: str
    command: str = ""
    """Command that prints JSON."""
    file: str = ""
    """JSON file of a committed result, instead of a command."""
    path: str
    """Path in the JSON: `rows[layer=fc4].parameters`."""
    scale: float = 1.0
    """Factor of the number, such as 100 for percent."""
    minus: str = ""
    """Value that is subtracted."""
    slow: bool = False
    """True if the command takes more than seconds."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.file):
            raise FieldError("command", "give a command or a file", "one of the two")

    @property
    def source(self) -> str:
        """Command as a reader types it, or the file."""
        return self.command.removesuffix(" --json") or self.file


@strict_dataclass
class _ValuesFile:
    value: tuple[Value, ...]


@cache
def declared_values() -> dict[str, Value]:
    """Return the values of the catalog by name."""
    text = _catalog_text(VALUES_FILE)
    loaded: _ValuesFile = decode(_ValuesFile, parse_toml(text, VALUES_FILE), VALUES_FILE)
    return {value.name: value for value in loaded.value}


@cache
def numbers() -> dict[str, float]:
    """Return the number of each value by its name."""
    table: dict[str, float] = json.loads(_catalog_text(NUMBERS_FILE))
    return table


def extract_number(result: Any, value: Value) -> float:
    """Return the number at the path of a value in the JSON of its command.

    Raises InputError if the JSON has no number there.
    """
    node, end = result, 0
    for step in _STEP.finditer(value.path):
        end = step.end()
        try:
            node = _take_step(node, step)
        except (KeyError, IndexError, StopIteration, TypeError):
            raise _path_error(value, step[0]) from None
    if isinstance(node, str) and node.isdecimal():
        node = int(node)
    if end != len(value.path) or isinstance(node, bool) or not isinstance(node, int | float):
        raise _path_error(value, value.path)
    return node * value.scale if value.scale != 1 else node


def _take_step(node: Any, step: re.Match[str]) -> Any:
    if step["product"]:
        return math.prod(node)
    if step["index"]:
        return node[int(step["index"])]
    if step["name"]:
        return next(row for row in node if str(row[step["name"]]) == step["expected"])
    return node[step["key"] or step["quoted"]]


def _path_error(value: Value, step: str) -> Exception:
    problem = f"the JSON of `{value.source}` has no number at {value.path}"
    return input_error(VALUES_FILE, problem, "correct the path", field=value.name, got=step)


def fill_values(text: str, language: Language, extra: Mapping[str, float] | None = None) -> str:
    """Replace `{name}` by its number and `{name:2}` by the number with two decimals.

    Raises KeyError for a name that no value has.
    """
    known = numbers() | dict(extra or {})

    def number(match: re.Match[str]) -> str:
        digits = int(match[2]) if match[2] else None
        return localize(known[match[1]], language, digits)

    return _BRACES.sub(number, text)


def names_in(text: str) -> set[str]:
    """Return the names of the values in a text."""
    return {match[1] for match in _BRACES.finditer(text)}


def _catalog_text(name: str) -> str:
    path = resources.files("resnetlab.catalog") / "course" / name
    return path.read_text(encoding="utf-8")
