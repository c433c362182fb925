"""Helpers for nested TOML tables: catalog names, dotted fields and merging. Free of torch."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from resnetlab.errors import input_error, suggest
from resnetlab.recipes.finetune import finetune_recipe_names, finetune_recipe_table
from resnetlab.schema import parse_toml, read_toml
from resnetlab.shell import is_path
from resnetlab.studies.published.bibliography import format_citation


def read_named(
    kind: str, source: str, noun: str, where: str = "", field: str = "", others: Iterable[str] = ()
) -> tuple[dict[str, Any], str]:
    """Read the tables of a catalog name or a file. Return them and the name of the file for errors.

    `others` are further valid names, which the caller looks up itself; errors list them too.
    """
    if source in catalog_names(kind):
        path = resources.files("resnetlab.catalog") / kind / f"{source}.toml"
        return parse_toml(path.read_text(encoding="utf-8"), f"{source}.toml"), f"{source}.toml"
    if source.endswith(".toml") or is_path(source):
        path = Path(source)
        if where.endswith(".toml"):  # a path in a study file is relative to that file
            relative_path = Path(where).parent / source
            path = relative_path if relative_path.exists() else path
        return read_toml(path), source
    known = [*catalog_names(kind), *others]
    fix = suggest(source, known) or f"one of {', '.join(known)}, or a path that ends in .toml"
    raise input_error(
        where or source, f"unknown {noun}", fix, field=field, got=source, allowed=", ".join(known)
    )


def catalog_names(kind: str) -> list[str]:
    """Return the names of the catalog's `studies`, `recipes` or another kind."""
    folder = resources.files("resnetlab.catalog") / kind
    return sorted(
        item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")
    )


def study_source(study: str) -> str:
    """Return the source of a catalog study, from its file's first line: `# Source: ...`."""
    path = resources.files("resnetlab.catalog") / "studies" / f"{study}.toml"
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return format_citation(line.partition("Source:")[2].strip())


def summarize_studies() -> list[dict[str, Any]]:
    """Count conditions and seeds of each catalog study; give its question and source.

    It reads only the tables and builds no condition, so it is fast. A test compares the counts with
    the parsed studies.
    """
    rows = []
    for name in catalog_names("studies"):
        tables, _ = read_named("studies", name, "study")
        conditions = len(tables.get("rung", ())) or math.prod(map(len, grid_of(tables).values()))
        row = {"study": name, "conditions": conditions, "seeds": len(tables["seeds"])}
        rows.append(row | {"question": tables["question"], "source": study_source(name)})
    return rows


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables: `{model: {depth: 56}}` becomes `{"model.depth": 56}`."""
    dotted: dict[str, Any] = {}
    for key, value in table.items():
        if (
            isinstance(value, list)
            and value
            and all(isinstance(item, dict) for item in value)
            and key == "stages"
        ):
            # The stages of a fine-tuning recipe.
            value = {str(number): stage for number, stage in enumerate(value)}
        dotted |= (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return dotted


def deep_merge(base: dict[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `table` into a copy of `base`.

    An inner table with another `name` replaces that of the base completely.
    """
    result = dict(base)
    for key, value in table.items():
        base_value: Any = result.get(key)
        result[key] = (
            deep_merge(base_value, value)
            if _is_same_kind(base_value, value)
            else copy.deepcopy(value)
        )
    return result


def _is_same_kind(base_value: Any, value: Any) -> bool:
    if not isinstance(base_value, dict) or not isinstance(value, dict):
        return False
    return bool(value.get("name", base_value.get("name")) == base_value.get("name"))


def get_field(tables: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted field, or None if there is none.

    Stages of a fine-tuning recipe have their number, from 0, as a name.
    """
    node: Any = tables
    for part in key.split("."):
        node = _inner(node, part)
    return node


def _inner(node: Any, part: str) -> Any:
    """Return the value of a name in a table or of a number in a list, or None."""
    if isinstance(node, list):
        return node[int(part)] if part.isdecimal() and int(part) < len(node) else None
    return node.get(part) if isinstance(node, dict) else None


def set_field(tables: dict[str, Any], key: str, value: object, where: str) -> None:
    """Set a dotted field; a bare name (`model = "cifar-resnet20"`) becomes a table with it.

    Stages of a fine-tuning recipe have their number, from 0, as a name. Raises InputError if a part
    is neither a name nor a table.
    """
    *parts, last = key.split(".")
    table: Any = tables
    for depth, part in enumerate(parts):
        inner, path = _inner(table, part), ".".join(parts[: depth + 1])
        if isinstance(inner, str):
            inner = {"source" if part == "data" else "base" if part == "recipe" else "name": inner}
        elif inner is None and isinstance(table, list):
            allowed = ", ".join(map(str, range(len(table))))
            message, fix = "no such number, counted from 0", "a number of the list"
            raise input_error(where, message, fix, field=path, allowed=allowed)
        elif inner is None:
            inner = {}
        elif not isinstance(inner, dict | list):
            raise input_error(
                where,
                f"not a table, so {key} cannot be set in it",
                f"remove {path}",
                field=path,
            )
        if isinstance(table, dict):
            table[part] = inner
        table = inner
    if isinstance(table, list):
        message, fix = "a number in a list has fields, no value", f"{key}.FIELD"
        raise input_error(where, message, fix, field=key)
    table[last] = value


def recipe_table(value: object, where: str, field: str) -> dict[str, Any]:
    """Return the table of a recipe, given as a table, a catalog name or a file.

    Raises InputError if there is none.

    A table with `base` is merged into the recipe that `base` names.
    """
    if isinstance(value, str) and value in finetune_recipe_names():
        return finetune_recipe_table(value)
    if isinstance(value, str):
        table = read_named("recipes", value, "recipe", where, field, finetune_recipe_names())[0]
        return {"name": Path(value).stem} | table if "stages" in table else table
    if value is None:
        raise input_error(where, "missing", f'{field} = "adam"', field=field)
    if not isinstance(value, dict):
        raise input_error(where, "not a recipe", f'{field} = "adam"', field=field, got=value)
    table = dict(value)
    base = table.pop("base", None)
    return (
        deep_merge(recipe_table(base, where, f"{field}.base"), table) if base is not None else table
    )


def grid_of(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the axes of a study file, each a dotted field with its values."""
    grid = tables.get("grid", {})
    return flatten(grid) if isinstance(grid, dict) else {}


def has_subfield(name: str, keys: Iterable[str]) -> bool:
    """Return True if any of `keys` is a field of `name`."""
    return any(key.startswith(f"{name}.") for key in keys)


def to_toml(value: Any) -> str:
    """Return a value as TOML; that of a string, number, boolean or list is its JSON."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {to_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(to_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # TOML needs this character escaped; JSON does not escape it
