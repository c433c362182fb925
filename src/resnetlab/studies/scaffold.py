"""New study files, made from answers. Free of torch.

A file has comments, is checked before it is written, and never replaces another file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.errors import InputError, mistake
from resnetlab.files import create_once
from resnetlab.schema import parse_toml
from resnetlab.shell import command_line
from resnetlab.studies.parsing.overrides import Overrides, toml_value
from resnetlab.studies.parsing.study_file import PARTS, parse_study

WHOLE_MODELS = ("model", "model.name", "model.depth", "model.blocks")
"""Axes that name the network, so that the file needs no `model`."""


@dataclass(frozen=True)
class Answers:
    """Answers for a new study file, in the form of command-line options."""

    question: str
    vary: tuple[str, ...]
    """Axes with their values: `model.depth=20,56`."""
    data: str
    recipe: str
    seeds: int
    model: str = "cifar-resnet20"
    """Network of the study, if no axis names one."""


def axes(vary: Sequence[str]) -> dict[str, list[Any]]:
    """Parse the axes of a grid. Raises InputError for text that is not FIELD=VALUE,VALUE."""
    grid: dict[str, list[Any]] = {}
    for text in vary:
        name, _, values = (part.strip() for part in text.partition("="))
        if name.split(".")[0] not in PARTS or not values:
            allowed = ", ".join(f"{part}.*" for part in PARTS)
            raise mistake(
                "--vary",
                "not FIELD=VALUE,VALUE",
                "--vary model.depth=20,56",
                got=text[:60],
                allowed=allowed,
            )
        if name in grid:
            raise mistake("--vary", f"{name} is given twice", f"--vary {name}={values},...")
        listed = toml_value(values) if values.startswith("[") else None
        grid[name] = (
            listed
            if isinstance(listed, list)
            else [toml_value(value.strip()) for value in values.split(",")]
        )
    return grid


def text_of(answers: Answers, path: Path) -> str:
    """Return the text of the study file.

    Raises InputError with every mistake that `study check` would find.
    """
    grid = axes(answers.vary)
    named = any(axis in WHOLE_MODELS for axis in grid)
    lines = [
        "# Source:   ours",
        f"# Command:  resnetlab study run {command_line([str(path)])}",
        (
            f"# Duration: not measured; `resnetlab study plan {command_line([str(path)])}` "
            "says what "
            "past runs tell"
        ),
        "# Result:   not run",
        f"name = {_toml(path.stem)}",
        f"question = {_toml(answers.question)}",
        (
            'about = ""                           # what the study is, in a sentence: the report '
            "prints it"
        ),
        'limits = ""                          # what it does not show',
        f"data = {_toml(answers.data)}",
        f"recipe = {_toml(answers.recipe)}",
        *([] if named else [f"model = {_toml(answers.model)}"]),
        f"seeds = {_toml(list(range(answers.seeds)))}",
        "",
        "[grid]                               # conditions: the product of the axes",
        *(f"{axis} = {_toml(values)}" for axis, values in grid.items()),
        "",
        *_example(grid),
    ]
    text = "\n".join(lines) + "\n"
    parse_study(parse_toml(text, str(path)), str(path), Overrides())
    if claim := "\n".join(line.removeprefix("# ") for line in _example(grid)[1:]):
        parse_study(
            parse_toml(f"{text}\n{claim}", str(path)), str(path), Overrides()
        )  # the commented claim must be valid too
    return text


def write_study(answers: Answers, path: Path) -> None:
    """Write the study file atomically.

    Raises InputError for a mistake or if the file already exists.
    """
    if path.suffix != ".toml":
        raise mistake("--out", "a study file ends in .toml", f"--out {path}.toml", got=str(path))
    if not path.parent.is_dir():
        raise mistake(str(path.parent), "no such folder", f"mkdir -p {path.parent}")
    text = text_of(answers, path)
    if not create_once(path, text):
        raise InputError(
            *mistake(str(path), "is there already", "give another --out, or remove it").problems
        )


def _example(grid: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return a commented example claim.

    It compares the last with the first value of the first axis that varies; the other axes are
    fixed.
    """
    varied = next((axis for axis, values in grid.items() if len(values) > 1), None)
    if varied is None:
        return []
    fixed = {axis: values[0] for axis, values in grid.items()}
    sides = {"left": fixed | {varied: grid[varied][-1]}, "right": fixed}
    sentence = (
        f"{varied} {_plain(sides['left'][varied])} is more accurate than "
        f"{_plain(sides['right'][varied])}."
    )
    return [
        (
            "# A claim is a sentence that the report judges; docs/study-files.md lists its kinds. "
            "State it before you run."
        ),
        "# [[claim]]",
        f"# says = {_toml(sentence)}",
        *(
            f"# {side} = {{ {', '.join(f'{a} = {_toml(v)}' for a, v in at.items())} }}"
            for side, at in sides.items()
        ),
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _toml(value)


def _toml(value: Any) -> str:
    """Return a value as TOML.

    For strings, numbers, booleans and lists of them, JSON text is valid TOML.
    """
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # TOML needs this character escaped; JSON does not escape it
