"""What a command changes of a study file: `--data`, `--set`, `--seeds`. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.codec import MAX_DEPTH, parse_toml
from resnetlab.errors import InputError, Problem, nearest
from resnetlab.studies.tables import below, copied, get_field, grid_of, put_field, recipe_table


@dataclass(frozen=True)
class Overrides:
    """What a command changes of a study file."""

    data: str | None = None
    settings: tuple[str, ...] = ()
    """`recipe.epochs=2`: a dotted field of model, data, recipe or numerics, and a TOML value."""
    seeds: tuple[int, ...] | None = None


def overridden(
    raw: dict[str, Any], where: str, overrides: Overrides
) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """The tables as a command changes them, what it sets below an axis, and both as sentences."""
    tables = copied(raw)
    grid = grid_of(tables)
    later: dict[str, Any] = {}
    said, problems = [], []
    if overrides.data is not None:
        said.append(f"data = {Path(overrides.data).name}")
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
        root, value = key.split(".")[0], _value(text)
        axis = next((axis for axis in grid if axis == key or key.startswith(f"{axis}.")), "")
        if not text or not 1 <= key.count(".") <= MAX_DEPTH or root not in ("model", "data", "recipe", "numerics"):
            fix = nearest(root, ["model", "data", "recipe", "numerics"]) or "--set recipe.epochs=2"
            allowed = "model.*, data.*, recipe.*, numerics.*"
            problems.append(Problem("--set", "not FIELD=VALUE", fix, got=setting[:60], allowed=allowed))
        elif key in grid or below(key, grid):
            problems.append(Problem("--set", f"{key} is an axis of the study's grid", "edit a copy of the study file"))
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
    return tables, later, tuple(said)


def _value(text: str) -> object:
    """A TOML value; bare words are strings, so that a shell needs no quotes within quotes."""
    try:
        return parse_toml(f"v = {text}", "--set")["v"]
    except InputError:
        return text
