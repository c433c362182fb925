"""New study files, made from answers. Free of torch.

A file has comments, is checked before it is written, and never replaces another file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.errors import InputError, input_error
from resnetlab.files import write_once
from resnetlab.schema import parse_toml
from resnetlab.shell import command_line
from resnetlab.studies.parsing.conditions import CONDITION_PARTS
from resnetlab.studies.parsing.overrides import Overrides, toml_value
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.parsing.toml_tables import to_toml

MODEL_AXES = ("model", "model.name", "model.depth", "model.blocks")
"""Axes that name the network, so that the file needs no `model`."""


@dataclass(frozen=True)
class StudyOptions:
    """Answers for a new study file, in the form of command-line options."""

    question: str
    vary: tuple[str, ...]
    """Axes with their values: `model.depth=20,56`."""
    data: str
    recipe: str
    seeds: int
    model: str = "cifar-resnet20"
    """Network of the study, if no axis names one."""


def parse_axes(vary: Sequence[str]) -> dict[str, list[Any]]:
    """Parse the axes of a grid. Raises InputError for text that is not FIELD=VALUE,VALUE."""
    grid: dict[str, list[Any]] = {}
    for text in vary:
        name, _, values = (part.strip() for part in text.partition("="))
        if name.split(".")[0] not in CONDITION_PARTS or not values:
            allowed = ", ".join(f"{part}.*" for part in CONDITION_PARTS)
            raise input_error(
                "--vary",
                "not FIELD=VALUE,VALUE",
                "--vary model.depth=20,56",
                got=text[:60],
                allowed=allowed,
            )
        if name in grid:
            raise input_error("--vary", f"{name} is given twice", f"--vary {name}={values},...")
        listed = toml_value(values) if values.startswith("[") else None
        grid[name] = (
            listed
            if isinstance(listed, list)
            else [toml_value(value.strip()) for value in values.split(",")]
        )
    return grid


def study_text(options: StudyOptions, path: Path) -> str:
    """Return the text of the study file. Raises InputError as `study check` would."""
    grid = parse_axes(options.vary)
    named = any(axis in MODEL_AXES for axis in grid)
    lines = [
        "# Source:   ours",
        f"# Command:  resnetlab study run {command_line([str(path)])}",
        (
            f"# Duration: not measured; `resnetlab study plan {command_line([str(path)])}` "
            "estimates it"
        ),
        "# Result:   not run",
        f"name = {to_toml(path.stem)}",
        f"question = {to_toml(options.question)}",
        'about = ""                           # description, which the report prints',
        'limits = ""                          # limitations',
        f"data = {to_toml(options.data)}",
        f"recipe = {to_toml(options.recipe)}",
        *([] if named else [f"model = {to_toml(options.model)}"]),
        f"seeds = {to_toml(list(range(options.seeds)))}",
        "",
        "[grid]                               # conditions: the product of the axes",
        *(f"{axis} = {to_toml(values)}" for axis, values in grid.items()),
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


def write_study(options: StudyOptions, path: Path) -> None:
    """Write the study file atomically. Raises InputError for a mistake or an existing file."""
    if path.suffix != ".toml":
        raise input_error(
            "--out", "a study file ends in .toml", f"--out {path}.toml", got=str(path)
        )
    if not path.parent.is_dir():
        raise input_error(str(path.parent), "no such folder", f"mkdir -p {path.parent}")
    text = study_text(options, path)
    if not write_once(path, text):
        raise InputError(
            *input_error(str(path), "already exists", "give another --out, or remove it").problems
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
        f"{varied} {_value_text(sides['left'][varied])} is more accurate than "
        f"{_value_text(sides['right'][varied])}."
    )
    return [
        (
            "# A claim is a sentence that the report tests; docs/study-files.md lists its kinds. "
            "Write it before the runs."
        ),
        "# [[claim]]",
        f"# statement = {to_toml(sentence)}",
        *(
            f"# {side} = {{ {', '.join(f'{a} = {to_toml(v)}' for a, v in at.items())} }}"
            for side, at in sides.items()
        ),
    ]


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else to_toml(value)
