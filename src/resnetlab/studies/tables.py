"""Nested tables, as TOML gives them: dotted fields, names that stand for tables, what adds to what. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from resnetlab.codec import parse_toml, read_toml
from resnetlab.errors import mistake, nearest
from resnetlab.shell import is_path
from resnetlab.training.tuning import tuning_names, tuning_table


def read_named(
    kind: str, source: str, noun: str, where: str = "", field: str = "", others: Iterable[str] = ()
) -> tuple[dict[str, Any], str]:
    """The tables of a catalog name or a file, and what to call it; `others` are known elsewhere."""
    if source in names(kind):
        path = resources.files("resnetlab.catalog") / kind / f"{source}.toml"
        return parse_toml(path.read_text(encoding="utf-8"), f"{source}.toml"), f"{source}.toml"
    if source.endswith(".toml") or is_path(source):
        beside = Path(where).parent / source  # what a study file names lies beside it
        return read_toml(beside if where.endswith(".toml") and beside.exists() else Path(source)), source
    known = [*names(kind), *others]
    fix = nearest(source, known) or f"one of {', '.join(known)}, or a path that ends in .toml"
    raise mistake(where or source, f"unknown {noun}", fix, field=field, got=source, allowed=", ".join(known))


def names(kind: str) -> list[str]:
    """What the catalog holds: `studies` or `recipes`."""
    folder = resources.files("resnetlab.catalog") / kind
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def source_of(study: str) -> str:
    """Where a study of the catalog comes from, as the first line of its file says it: `# Source:   ...`."""
    path = resources.files("resnetlab.catalog") / "studies" / f"{study}.toml"
    return path.read_text(encoding="utf-8").partition("\n")[0].partition("Source:")[2].strip()


def outlines() -> list[dict[str, Any]]:
    """Count the conditions and seeds of each study of the catalog, and give its question and its source.

    Reads the tables alone and builds no condition, so it is quick; a test holds the counts against the whole study.
    """
    found = []
    for name in names("studies"):
        tables, _ = read_named("studies", name, "study")
        conditions = len(tables.get("rung", ())) or math.prod(map(len, grid_of(tables).values()))
        row = {"study": name, "conditions": conditions, "seeds": len(tables["seeds"])}
        found.append(row | {"question": tables["question"], "source": source_of(name)})
    return found


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{model: {depth: 56}}` and `{"model.depth": 56}` as the latter."""
    dotted: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value) and key == "stages":
            # Of a recipe of fine-tuning.
            value = {str(number): stage for number, stage in enumerate(value)}
        dotted |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return dotted


def copied(value: Any) -> Any:
    """Tables and lists that may be changed without changing `value`."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def merged(base: dict[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `table` says; an inner table whose `name` changes replaces the base's whole."""
    whole = dict(base)
    for key, value in table.items():
        held: Any = whole.get(key)
        whole[key] = merged(held, value) if _one_kind(held, value) else copied(value)
    return whole


def _one_kind(held: Any, value: Any) -> bool:
    if not isinstance(held, dict) or not isinstance(value, dict):
        return False
    return bool(value.get("name", held.get("name")) == held.get("name"))


def get_field(tables: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted field; None where there is none."""
    held: Any = tables
    for part in key.split("."):
        held = held.get(part) if isinstance(held, dict) else None
    return held


def put_field(tables: dict[str, Any], key: str, value: object, where: str) -> None:
    """Set a dotted field; a part that is a bare name (`model = "cifar-resnet20"`) becomes the table it stands for.

    Raises InputError where a part is neither.
    """
    *parts, last = key.split(".")
    held: Any = tables
    for depth, part in enumerate(parts):
        inner = held.get(part)
        if isinstance(inner, str):
            inner = {"source" if part == "data" else "base" if part == "recipe" else "name": inner}
        elif inner is None:
            inner = {}
        elif not isinstance(inner, dict):
            place = ".".join(parts[: depth + 1])
            raise mistake(where, f"not a table, so that {key} has no place in it", f"remove {place}", field=place)
        held[part] = inner
        held = inner
    held[last] = value


def recipe_table(value: object, where: str, field: str) -> dict[str, Any]:
    """The table of a recipe, of fine-tuning or not: given, or of a catalog name or file; `base` names one that a table
    adds to."""
    if isinstance(value, str) and value in tuning_names():
        return tuning_table(value)
    if isinstance(value, str):
        table = read_named("recipes", value, "recipe", where, field, tuning_names())[0]
        return {"name": Path(value).stem} | table if "stages" in table else table
    if value is None:
        raise mistake(where, "missing", f'{field} = "adam"', field=field)
    if not isinstance(value, dict):
        raise mistake(where, "not a recipe", f'{field} = "adam"', field=field, got=value)
    table = dict(value)
    base = table.pop("base", None)
    return merged(recipe_table(base, where, f"{field}.base"), table) if base is not None else table


def grid_of(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The axes of a study file, each a dotted field."""
    grid = tables.get("grid", {})
    return flat(grid) if isinstance(grid, dict) else {}


def below(name: str, keys: Iterable[str]) -> bool:
    """Whether any of `keys` is a field of `name`."""
    return any(key.startswith(f"{name}.") for key in keys)
