"""Overrides of a study file by options of a command: `--data`, `--set`, `--seeds`."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from resnetlab.errors import InputError, Problem, suggest
from resnetlab.schema import MAX_DEPTH, parse_toml
from resnetlab.shell import strip_folders
from resnetlab.studies.parsing.ladder import rung_axis, rung_setting
from resnetlab.studies.parsing.toml_tables import (
    get_field,
    grid_of,
    has_subfield,
    recipe_table,
    set_field,
    to_toml,
)
from resnetlab.studies.study import Override

PARTS = ("model", "data", "recipe", "numerics")
"""Tables of a study file whose fields `--set` may change."""


VariantName = Literal["", "budget", "evidence"]
"""Variants of a study file: none, under an hour, and hours that decide the main claims."""


@dataclass(frozen=True)
class Overrides:
    """Overrides of a study file by a command."""

    data: str | None = None
    settings: tuple[str, ...] = ()
    """Settings such as `recipe.epochs=2`: a dotted field of model, data, recipe or numerics, and a
    TOML value. `grid.model.depth=[20]` keeps only these values of an axis. An axis of whole
    networks takes any networks: `grid.model=["mine.toml"]`."""
    seeds: tuple[int, ...] | None = None
    variant: VariantName = ""
    """Variant of the study in the table of that name in the file; empty for the study itself."""


class OverrideResult(NamedTuple):
    """Study file with the changes of a command."""

    tables: dict[str, Any]
    deferred: dict[str, Any]
    """Fields that the command sets below an axis."""
    axis_subset: dict[str, list[Any]]
    """Values of each axis that the command keeps."""
    changes: tuple[Override, ...]
    """Changes, in the order in which the command made them."""


def apply_overrides(raw: dict[str, Any], where: str, overrides: Overrides) -> OverrideResult:
    """Return the tables of a study file with the changes of a command.

    Raises InputError with every mistake of the command.
    """
    editor = _TableEditor(raw, where)
    if overrides.data is not None:
        editor.set_data(overrides.data)
    if overrides.seeds is not None:
        editor.tables["seeds"] = list(overrides.seeds)
        editor.record("seeds", str(list(overrides.seeds)))
    for setting in overrides.settings:
        editor.apply(setting)
    if editor.problems:
        raise InputError(*editor.problems)
    return OverrideResult(editor.tables, editor.deferred, editor.axis_subset, tuple(editor.changes))


class _TableEditor:
    """Editor of a copy of a study file's tables. It collects every mistake of the settings."""

    def __init__(self, raw: dict[str, Any], where: str) -> None:
        self.where = where
        self.tables = copy.deepcopy(raw)
        self.grid = grid_of(self.tables)
        self.axes = self.grid | rung_axis(self.tables)
        self.deferred: dict[str, Any] = {}
        self.axis_subset: dict[str, list[Any]] = {}
        self.changes: list[Override] = []
        self.problems: list[Problem] = []

    def record(self, key: str, value: str, previous: object = None) -> None:
        """Record a change, for files and reports."""
        self.changes.append(Override(key, value, None if previous is None else str(previous)))

    def set_data(self, source: str) -> None:
        """Replace the source of the data."""
        self.record("data", strip_folders(source))
        if "data" in self.grid or "data.source" in self.grid:
            self._add_problem(
                "data is an axis of the study's grid", "edit a copy of the study file", "--data"
            )
        elif isinstance(self.tables.get("data"), dict):
            self.tables["data"]["source"] = source
        else:
            self.tables["data"] = {"source": source}

    def apply(self, setting: str) -> None:
        """Apply a setting FIELD=VALUE."""
        key, _, text = (part.strip() for part in setting.partition("="))
        part, value = key.split(".")[0], toml_value(text)
        is_axis = key in self.grid or has_subfield(key, self.grid)
        if part == "grid" and text:
            self._select_axis_values(key.removeprefix("grid."), value, text)
        elif text and key in ("model", "recipe") and not is_axis:
            self._replace_part(key, value, text)
        elif not text or part not in PARTS or not 1 <= key.count(".") <= MAX_DEPTH:
            fix = suggest(part, PARTS) or "--set recipe.epochs=2"
            allowed = ", ".join(f"{name}.*" for name in (*PARTS, "grid"))
            self._add_problem("not FIELD=VALUE", fix, got=setting[:60], allowed=allowed)
        elif is_axis:
            fix = (
                f"--set 'grid.{key}=[...]' keeps some of its values; for others edit a copy of "
                "the study file"
            )
            self._add_problem(f"{key} is an axis of the study's grid", fix)
        elif rung := rung_setting(self.tables, key):
            self._add_problem(f'{key} is set by the rung "{rung}"', "edit a copy of the study file")
        elif any(key.startswith(f"{axis}.") for axis in self.grid):
            self.deferred[key] = value
            self.record(key, text)
        else:
            self._set_field(key, value, text)

    def _select_axis_values(self, axis: str, value: Any, text: str) -> None:
        if problem := _axis_problem(axis, value, self.axes):
            self.problems.append(problem)
            return
        file_count = len(self.axes[axis])
        if axis == "model":  # its values are whole networks, so any other network fits too
            new_models = [model for model in value if model not in self.grid[axis]]
            self.tables["grid"][axis] = [*self.grid[axis], *new_models]
            names = [strip_folders(x) if str(x).endswith(".toml") else x for x in value]
            text = to_toml(names)
        self.axis_subset[axis] = list(value)
        self.record(f"grid.{axis}", text, f"{file_count} values")

    def _replace_part(self, part: str, value: Any, text: str) -> None:
        previous = self.tables.get(part)
        self.tables[part] = value
        value_text = strip_folders(text) if text.endswith(".toml") else text
        self.record(part, value_text, previous or None)

    def _set_field(self, key: str, value: Any, text: str) -> None:
        if key.startswith("recipe."):
            self.tables["recipe"] = recipe_table(self.tables.get("recipe"), self.where, "recipe")
        previous = get_field(self.tables, key)
        if key.endswith(".name") and previous not in (None, value):
            # Another kind has other fields, so the old table is replaced.
            set_field(self.tables, key.removesuffix(".name"), {"name": value}, self.where)
        else:
            set_field(self.tables, key, value, self.where)
        self.record(key, text, previous)

    def _add_problem(
        self, message: str, fix: str, option: str = "--set", got: str = "", allowed: str = ""
    ) -> None:
        self.problems.append(Problem(option, message, fix, got=got, allowed=allowed))


def _axis_problem(axis: str, value: Any, grid: dict[str, Any]) -> Problem | None:
    """Return the problem with keeping only these values of an axis, or None."""
    field = f"grid.{axis}"
    if axis not in grid:
        fix = suggest(axis, grid) or (
            "name an axis of the study" if grid else "remove it: the study has no grid"
        )
        return Problem(
            "--set", "not an axis of the study's grid", fix, field, allowed=", ".join(grid)
        )
    values = grid[axis] if isinstance(grid[axis], list) else []
    allowed = ", ".join(map(str, values))[:200]
    if not isinstance(value, list) or not value:
        return Problem(
            "--set",
            "not a list of values",
            f"--set 'grid.{axis}=[...]'",
            field,
            str(value)[:60],
            allowed,
        )
    if axis == "model":
        return None
    unknown = [str(item)[:60] for item in value if item not in values]
    if unknown:
        return Problem(
            "--set", "not a value of the axis", "keep some of its own", field, unknown[0], allowed
        )
    return None


def toml_value(text: str) -> Any:
    """Parse a TOML value. Bare words are strings, so that a shell needs no quotes within quotes."""
    try:
        return parse_toml(f"v = {text}", "--set")["v"]
    except InputError:
        return text
