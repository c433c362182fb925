"""Overrides of a study file by options of a command: `--data`, `--set`, `--seeds`.

Free of torch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

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
)


@dataclass(frozen=True)
class Overrides:
    """Overrides of a study file by a command."""

    data: str | None = None
    settings: tuple[str, ...] = ()
    """Settings such as `recipe.epochs=2`: a dotted field of model, data, recipe or numerics, and a
    TOML value. `grid.model.depth=[20]` keeps only these values of an axis."""
    seeds: tuple[int, ...] | None = None


class OverrideResult(NamedTuple):
    """Study file with the changes of a command."""

    tables: dict[str, Any]
    deferred: dict[str, Any]
    """Fields that the command sets below an axis."""
    axis_subset: dict[str, list[Any]]
    """Values of each axis that the command keeps."""
    summary: tuple[str, ...]
    """Changes as text."""


def apply_overrides(raw: dict[str, Any], where: str, overrides: Overrides) -> OverrideResult:
    """Return the tables with the changes of a command.

    Raises InputError with every mistake of the command.
    """
    tables = copy.deepcopy(raw)
    grid = grid_of(tables)
    later: dict[str, Any] = {}
    axes = grid | rung_axis(tables)
    axis_values: dict[str, list[Any]] = {}
    changes, problems = [], []
    if overrides.data is not None:
        changes.append(f"data = {strip_folders(overrides.data)}")
        if "data" in grid or "data.source" in grid:
            problems.append(
                Problem(
                    "--data", "data is an axis of the study's grid", "edit a copy of the study file"
                )
            )
        elif isinstance(tables.get("data"), dict):
            tables["data"]["source"] = overrides.data
        else:
            tables["data"] = {"source": overrides.data}
    if overrides.seeds is not None:
        changes.append(f"seeds = {list(overrides.seeds)}")
        tables["seeds"] = list(overrides.seeds)
    for setting in overrides.settings:
        key, _, text = (part.strip() for part in setting.partition("="))
        root, value = key.split(".")[0], toml_value(text)
        axis = next((axis for axis in grid if axis == key or key.startswith(f"{axis}.")), "")
        if root == "grid" and text:
            part = key.removeprefix("grid.")
            if problem := _axis_problem(part, value, axes):
                problems.append(problem)
            else:
                axis_values[part] = list(value)
                changes.append(f"{key} = {text} (was {len(axes[part])} values)")
        elif (
            text and key in ("model", "recipe") and key not in grid and not has_subfield(key, grid)
        ):
            previous = tables.get(key)
            tables[key] = value
            changes.append(
                f"{key} = {strip_folders(text) if text.endswith('.toml') else text}"
                + (f" (was {previous})" if previous else "")
            )
        elif (
            not text
            or not 1 <= key.count(".") <= MAX_DEPTH
            or root not in ("model", "data", "recipe", "numerics")
        ):
            fix = suggest(root, ["model", "data", "recipe", "numerics"]) or "--set recipe.epochs=2"
            allowed = "model.*, data.*, recipe.*, numerics.*, grid.*"
            problems.append(
                Problem("--set", "not FIELD=VALUE", fix, got=setting[:60], allowed=allowed)
            )
        elif key in grid or has_subfield(key, grid):
            fix = (
                f"--set 'grid.{key}=[...]' keeps some of its values; for others edit a copy of "
                "the study file"
            )
            problems.append(Problem("--set", f"{key} is an axis of the study's grid", fix))
        elif rung := rung_setting(tables, key):
            problems.append(
                Problem(
                    "--set", f'{key} is set by the rung "{rung}"', "edit a copy of the study file"
                )
            )
        elif axis:
            later[key] = value
            changes.append(f"{key} = {text}")
        else:
            if root == "recipe":
                tables["recipe"] = recipe_table(tables.get("recipe"), where, "recipe")
            previous = get_field(tables, key)
            if key.endswith(".name") and previous not in (None, value):
                set_field(
                    tables, key.removesuffix(".name"), {"name": value}, where
                )  # another kind has other fields, so the old table is replaced
            else:
                set_field(tables, key, value, where)
            changes.append(
                f"{key} = {text}" + (f" (was {previous})" if previous is not None else "")
            )
    if problems:
        raise InputError(*problems)
    return OverrideResult(tables, later, axis_values, tuple(changes))


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
    own_values = grid[axis] if isinstance(grid[axis], list) else []
    allowed = ", ".join(map(str, own_values))[:200]
    if not isinstance(value, list) or not value:
        return Problem(
            "--set",
            "not a list of values",
            f"--set 'grid.{axis}=[...]'",
            field,
            str(value)[:60],
            allowed,
        )
    unknown = [str(item)[:60] for item in value if item not in own_values]
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
