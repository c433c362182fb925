"""What a command changes of a study file: `--data`, `--set`, `--seeds`. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from resnetlab.errors import InputError, Problem, nearest
from resnetlab.schema import MAX_DEPTH, parse_toml
from resnetlab.shell import last_part
from resnetlab.studies.parsing.ladder import axis_of, setter
from resnetlab.studies.parsing.toml_tables import below, copied, get_field, grid_of, put_field, recipe_table


@dataclass(frozen=True)
class Overrides:
    """What a command changes of a study file."""

    data: str | None = None
    settings: tuple[str, ...] = ()
    """`recipe.epochs=2`: a dotted field of model, data, recipe or numerics, and a TOML value. `grid.model.depth=[20]`
    keeps these values of an axis."""
    seeds: tuple[int, ...] | None = None


class Changed(NamedTuple):
    """A study file as a command changes it."""

    tables: dict[str, Any]
    later: dict[str, Any]
    """What it sets below an axis."""
    kept: dict[str, list[Any]]
    """Values of an axis to which it keeps."""
    said: tuple[str, ...]
    """All of it as sentences."""


def overridden(raw: dict[str, Any], where: str, overrides: Overrides) -> Changed:
    """The tables as a command changes them. Raises InputError with every mistake of the command."""
    tables = copied(raw)
    grid = grid_of(tables)
    later: dict[str, Any] = {}
    axes = grid | axis_of(tables)
    kept: dict[str, list[Any]] = {}
    said, problems = [], []
    if overrides.data is not None:
        said.append(f"data = {last_part(overrides.data)}")
        if "data" in grid or "data.source" in grid:
            problems.append(Problem("--data", "data is an axis of the study's grid", "edit a copy of the study file"))
        elif isinstance(tables.get("data"), dict):
            tables["data"]["source"] = overrides.data
        else:
            tables["data"] = {"source": overrides.data}
    if overrides.seeds is not None:
        said.append(f"seeds = {list(overrides.seeds)}")
        tables["seeds"] = list(overrides.seeds)
    for setting in overrides.settings:
        key, _, text = (part.strip() for part in setting.partition("="))
        root, value = key.split(".")[0], toml_value(text)
        axis = next((axis for axis in grid if axis == key or key.startswith(f"{axis}.")), "")
        if root == "grid" and text:
            part = key.removeprefix("grid.")
            if problem := _unkept(part, value, axes):
                problems.append(problem)
            else:
                kept[part] = list(value)
                said.append(f"{key} = {text} (was {len(axes[part])} values)")
        elif text and key in ("model", "recipe") and key not in grid and not below(key, grid):
            was = tables.get(key)
            tables[key] = value
            said.append(
                f"{key} = {last_part(text) if text.endswith('.toml') else text}" + (f" (was {was})" if was else "")
            )
        elif not text or not 1 <= key.count(".") <= MAX_DEPTH or root not in ("model", "data", "recipe", "numerics"):
            fix = nearest(root, ["model", "data", "recipe", "numerics"]) or "--set recipe.epochs=2"
            allowed = "model.*, data.*, recipe.*, numerics.*, grid.*"
            problems.append(Problem("--set", "not FIELD=VALUE", fix, got=setting[:60], allowed=allowed))
        elif key in grid or below(key, grid):
            fix = f"--set 'grid.{key}=[...]' keeps some of its values; for others edit a copy of the study file"
            problems.append(Problem("--set", f"{key} is an axis of the study's grid", fix))
        elif rung := setter(tables, key):
            problems.append(Problem("--set", f'{key} is set by the rung "{rung}"', "edit a copy of the study file"))
        elif axis:
            later[key] = value
            said.append(f"{key} = {text}")
        else:
            if root == "recipe":
                tables["recipe"] = recipe_table(tables.get("recipe"), where, "recipe")
            was = get_field(tables, key)
            if key.endswith(".name") and was not in (None, value):
                put_field(tables, key.removesuffix(".name"), {"name": value}, where)  # another kind has other fields
            else:
                put_field(tables, key, value, where)
            said.append(f"{key} = {text}" + (f" (was {was})" if was is not None else ""))
    if problems:
        raise InputError(*problems)
    return Changed(tables, later, kept, tuple(said))


def _unkept(axis: str, value: Any, grid: dict[str, Any]) -> Problem | None:
    """Why an axis cannot be kept to that value."""
    field = f"grid.{axis}"
    if axis not in grid:
        fix = nearest(axis, grid) or ("name an axis of the study" if grid else "remove it: the study has no grid")
        return Problem("--set", "not an axis of the study's grid", fix, field, allowed=", ".join(grid))
    held = grid[axis] if isinstance(grid[axis], list) else []
    allowed = ", ".join(map(str, held))[:200]
    if not isinstance(value, list) or not value:
        return Problem("--set", "not a list of values", f"--set 'grid.{axis}=[...]'", field, str(value)[:60], allowed)
    strange = [str(item)[:60] for item in value if item not in held]
    if strange:
        return Problem("--set", "not a value of the axis", "keep some of its own", field, strange[0], allowed)
    return None


def toml_value(text: str) -> Any:
    """A TOML value; bare words are strings, so that a shell needs no quotes within quotes."""
    try:
        return parse_toml(f"v = {text}", "--set")["v"]
    except InputError:
        return text
