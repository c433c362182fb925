"""A study file: a question, conditions, seeds and claims. Free of torch.

Owns how the tables of a file, a catalog recipe and the overrides of a command become resolved conditions, and tells
every mistake of a file at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from resnetlab.codec import MAX_DEPTH, Name, Whole, decode, parse_toml, read_toml, spec
from resnetlab.data.spec import Data
from resnetlab.errors import InputError, Problem, mistake, nearest
from resnetlab.models.spec import Model, parse_model
from resnetlab.training.numerics import Numerics
from resnetlab.training.recipe import Recipe

MAX_CONDITIONS = 1_000


@spec
class Condition:
    """A model, data and a recipe: what is compared."""

    label: str
    """Short and unique within the study: `residual 56 (A)`."""
    values: dict[str, Any]
    """Where it stands on each axis of the grid: `{"model.depth": 56}`."""
    model: Model
    data: Data
    recipe: Recipe


@spec
class Claim:
    """A sentence, as an estimand that measurements can reproduce or contradict."""

    says: str
    source: str = ""
    kind: Literal["greater"] = "greater"
    """greater: the mean test accuracy of `left` is above that of `right`."""
    left: str
    """Label of a condition."""
    right: str


@spec
class Study:
    """A question and all that answers it, resolved."""

    name: Name
    question: str
    about: str = ""
    """What the study is, in a sentence or two."""
    limits: str = ""
    """What it does not show."""
    conditions: tuple[Condition, ...]
    seeds: tuple[Whole, ...]
    claims: tuple[Claim, ...] = ()
    numerics: Numerics = Numerics()
    overrides: tuple[str, ...] = ()
    """What a command changed of the file: `recipe.epochs = 2 (was 10)`."""

    def condition(self, label: str) -> Condition:
        """The condition of that label."""
        return next(condition for condition in self.conditions if condition.label == label)


@spec
class _ClaimTable:
    says: str
    source: str = ""
    kind: Literal["greater"] = "greater"
    left: dict[str, Any]
    right: dict[str, Any]


@spec
class _File:
    """A study file as it stands, before names are looked up."""

    name: Name
    question: str
    about: str = ""
    limits: str = ""
    data: Any = None
    recipe: Any = None
    model: Any = None
    numerics: Numerics = Numerics()
    seeds: Annotated[tuple[Whole, ...], "run seeds"]
    grid: dict[str, Any] = field(default_factory=dict)
    claim: tuple[_ClaimTable, ...] = ()


@dataclass(frozen=True)
class Overrides:
    """What a command changes of a study file."""

    data: str | None = None
    settings: tuple[str, ...] = ()
    """`recipe.epochs=2`: a dotted field of model, data, recipe or numerics, and a TOML value."""
    seeds: tuple[int, ...] | None = None


def study_names() -> list[str]:
    """The studies of the catalog."""
    return _names("studies")


def recipe_names() -> list[str]:
    """The recipes of the catalog."""
    return _names("recipes")


def load_recipe(value: object, where: str = "", field: str = "recipe") -> Recipe:
    """A recipe from a table, a catalog name or a TOML file. Raises InputError."""
    recipe: Recipe = decode(Recipe, _recipe_table(value, where, field), where, field)
    return recipe


def load_study(source: str | Path, overrides: Overrides | None = None) -> Study:
    """The study of that catalog name or TOML file, changed by `overrides`.

    Raises InputError with every mistake of the file: unknown fields, conditions that cannot be built, claims about
    conditions that do not exist.
    """
    raw, where = _read("studies", str(source), "study")
    return parse_study(raw, where, overrides or Overrides())


def parse_study(raw: dict[str, Any], where: str, overrides: Overrides) -> Study:
    """As `load_study`, from tables; `where` names them in errors."""
    tables, later, said = _overridden(raw, where, overrides)
    file, problems = _attempt(lambda: decode(_File, tables, where))
    # The parts are read even when the outline has mistakes, so that a person mends a file once.
    conditions, more = _conditions(tables, where, later)
    problems += more
    if "seeds" not in tables:
        problems += (Problem(where, "missing", "seeds = [0, 1, 2]", field="seeds"),)
    if file is not None and not file.seeds:
        problems += (Problem(where, "empty", "seeds = [0, 1, 2]", field="seeds"),)
    if file is not None and len(set(file.seeds)) < len(file.seeds):
        problems += (Problem(where, "a seed stands twice", "give each seed once", field="seeds"),)
    if problems or file is None:
        raise InputError(*{(problem.field, problem.what): problem for problem in problems}.values())
    claims, problems = _claims(file.claim, conditions, where)
    if problems:
        raise InputError(*problems)
    return Study(
        name=file.name, question=file.question, about=file.about, limits=file.limits, conditions=tuple(conditions),
        seeds=file.seeds, claims=tuple(claims), numerics=file.numerics, overrides=said,
    )  # fmt: skip


# Parts of a file ------------------------------------------------------------------------------------------------------


def _conditions(
    tables: Mapping[str, Any], where: str, later: Mapping[str, Any]
) -> tuple[list[Condition], tuple[Problem, ...]]:
    """`later` holds what a command sets below an axis (`recipe.epochs` below `recipe`): put after the axis's value."""
    grid = _grid(tables)
    problems: tuple[Problem, ...] = ()
    for axis, values in grid.items():
        if not isinstance(values, list) or not values:
            problems += (Problem(where, "not a list of values", f"{axis} = [1, 2]", field=f"grid.{axis}"),)
        elif any(value in values[:index] for index, value in enumerate(values)):
            problems += (Problem(where, "a value stands twice", "give each value once", field=f"grid.{axis}"),)
        if axis.split(".")[0] not in ("model", "data", "recipe"):
            fix = nearest(axis.split(".")[0], ["model", "data", "recipe"]) or "model.depth = [20, 56]"
            problems += (Problem(where, "not a field of model, data or recipe", fix, field=f"grid.{axis}"),)
    bases: dict[str, Any] = {name: tables.get(name) for name in ("model", "data")}
    bases["recipe"], more = _attempt(
        lambda: _recipe_table(tables.get("recipe"), where, "recipe") if tables.get("recipe") is not None else None
    )
    problems += more
    for name, example in (("model", "cifar-resnet20"), ("data", "digits"), ("recipe", "adam")):
        fix = f'{name} = "{example}"'
        if tables.get(name) is None and name not in grid and (name == "recipe" or not _below(name, grid)):
            problems += (Problem(where, "missing", fix, field=name),)
        elif name != "recipe" and not isinstance(tables.get(name), str | dict | None):
            problems += (Problem(where, "neither a name nor a table", fix, field=name),)
    if problems:
        return [], problems
    size = 1
    for values in grid.values():
        size *= len(values)
    if size > MAX_CONDITIONS:
        return [], (Problem(where, f"{size:,} conditions", f"at most {MAX_CONDITIONS:,}", field="grid"),)
    conditions = []
    for point in itertools.product(*grid.values()):
        values = dict(zip(grid, point, strict=True))
        condition, more = _condition(bases, values, where, later)
        problems += more
        if condition:
            conditions.append(condition)
    return _labelled(conditions), problems


def _grid(tables: Mapping[str, Any]) -> dict[str, Any]:
    grid = tables.get("grid", {})
    return _flat(grid) if isinstance(grid, dict) else {}


def _below(name: str, keys: Iterable[str]) -> bool:
    return any(key.startswith(f"{name}.") for key in keys)


def _condition(
    bases: Mapping[str, Any], values: dict[str, Any], where: str, later: Mapping[str, Any]
) -> tuple[Condition | None, tuple[Problem, ...]]:
    parts = {name: _copy(base) for name, base in bases.items()}
    problems: tuple[Problem, ...] = ()
    for axis, value in sorted(values.items(), key=lambda item: item[0].count(".")):  # a whole before its parts
        problems += _attempt(partial(_put, parts, axis, value, where))[1]
    for key, value in later.items():
        problems += _attempt(partial(_put, parts, key, value, where))[1]
    if problems:
        return None, problems
    if isinstance(parts["data"], str):
        parts["data"] = {"source": parts["data"]}
    model, more = _attempt(lambda: parse_model(parts["model"], where))
    data, more_data = _attempt(lambda: decode(Data, parts["data"], where, "data"))
    recipe, more_recipe = _attempt(lambda: load_recipe(parts["recipe"], where))
    problems = more + more_data + more_recipe
    if problems or model is None:
        return None, problems
    return Condition(label=model.title, values=values, model=model, data=data, recipe=recipe), ()


def _labelled(conditions: list[Condition]) -> list[Condition]:
    """Labels that tell the conditions apart: the network's title, then the axes that the title leaves open."""
    labels = [condition.label for condition in conditions]
    if len(set(labels)) == len(labels):
        return conditions
    hidden = ("model", "model.depth", "model.shortcut", "model.blocks", "model.name")
    named = [
        ", ".join(
            [c.label, *(f"{axis.split('.')[-1]} {value}" for axis, value in c.values.items() if axis not in hidden)]
        )
        for c in conditions
    ]
    if len(set(named)) < len(named):
        named = [", ".join(f"{axis} {value}" for axis, value in c.values.items()) for c in conditions]
    return [replace(condition, label=label) for condition, label in zip(conditions, named, strict=True)]


def _claims(
    tables: Iterable[_ClaimTable], conditions: list[Condition], where: str
) -> tuple[list[Claim], tuple[Problem, ...]]:
    claims, problems = [], []
    axes = ", ".join(conditions[0].values) if conditions else ""
    for index, table in enumerate(tables):
        labels = []
        for side in ("left", "right"):
            wanted = _flat(getattr(table, side))
            found = [c.label for c in conditions if all(c.values.get(axis) == value for axis, value in wanted.items())]
            field = f"claim[{index}].{side}"
            shown = ", ".join(f"{axis} = {value}" for axis, value in wanted.items()) or "nothing"
            if unknown := [axis for axis in wanted if axis not in conditions[0].values]:
                fix = nearest(unknown[0], conditions[0].values) or (f"choose from {axes}" if axes else "add a [grid]")
                problems.append(Problem(where, f"{unknown[0]} is not an axis of the grid", fix, field, allowed=axes))
            elif len(found) != 1:
                what = "no condition" if not found else f"{len(found)} conditions"
                fix = "name one condition by its axes" if found else "use values of the grid"
                problems.append(Problem(where, f"{what} with {shown}", fix, field, allowed=axes))
            labels += found[:1]
        if len(labels) == 2 and labels[0] == labels[1]:
            problems.append(Problem(where, "left and right are one condition", "compare two", f"claim[{index}]"))
        elif len(labels) == 2:
            claims.append(Claim(says=table.says, source=table.source, kind=table.kind, left=labels[0], right=labels[1]))
    return claims, tuple(problems)


def _recipe_table(value: object, where: str, field: str) -> dict[str, Any]:
    """The table of a recipe: given, or of a catalog name or file; `base` names one that a table adds to."""
    if isinstance(value, str):
        return _read("recipes", value, "recipe", where, field)[0]
    if value is None:
        raise mistake(where, "missing", f'{field} = "adam"', field=field)
    if not isinstance(value, dict):
        raise mistake(where, "not a recipe", f'{field} = "adam"', field=field, got=value)
    table = dict(value)
    base = table.pop("base", None)
    return _merged(_recipe_table(base, where, f"{field}.base"), table) if base is not None else table


# Overrides ------------------------------------------------------------------------------------------------------------


def _overridden(
    raw: dict[str, Any], where: str, overrides: Overrides
) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """The tables as a command changes them, what it sets below an axis, and both as sentences."""
    tables = _copy(raw)
    grid = _grid(tables)
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
        elif key in grid or _below(key, grid):
            problems.append(Problem("--set", f"{key} is an axis of the study's grid", "edit a copy of the study file"))
        elif axis:
            later[key] = value
            said.append(f"{key} = {text}")
        else:
            if root == "recipe":
                tables["recipe"] = _recipe_table(tables.get("recipe"), where, "recipe")
            was = _get(tables, key)
            if key.endswith(".name") and was not in (None, value):
                _put(tables, key.removesuffix(".name"), {"name": value}, where)  # another kind has other fields
            else:
                _put(tables, key, value, where)
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


# Small tools ----------------------------------------------------------------------------------------------------------


def _attempt(action: Callable[[], Any]) -> tuple[Any, tuple[Problem, ...]]:
    try:
        return action(), ()
    except InputError as error:
        return None, error.problems


def _read(kind: str, source: str, noun: str, where: str = "", field: str = "") -> tuple[dict[str, Any], str]:
    """The tables of a catalog name or a file, and what to call it."""
    if source in _names(kind):
        path = resources.files("resnetlab.catalog") / kind / f"{source}.toml"
        return parse_toml(path.read_text(encoding="utf-8"), f"{source}.toml"), f"{source}.toml"
    if source.endswith(".toml") or "/" in source:
        return read_toml(Path(source)), source
    names = _names(kind)
    fix = nearest(source, names) or f"one of {', '.join(names)}, or a path that ends in .toml"
    raise mistake(where or source, f"unknown {noun}", fix, field=field, got=source, allowed=", ".join(names))


def _names(kind: str) -> list[str]:
    folder = resources.files("resnetlab.catalog") / kind
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{model: {depth: 56}}` and `{"model.depth": 56}` as the latter."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _merged(base: dict[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `table` says; an inner table whose `name` changes replaces the base's whole."""
    merged = dict(base)
    for key, value in table.items():
        held = merged.get(key)
        if (
            isinstance(value, dict)
            and isinstance(held, dict)
            and value.get("name", held.get("name")) == held.get("name")
        ):
            merged[key] = _merged(held, value)
        else:
            merged[key] = _copy(value)
    return merged


def _get(tables: Mapping[str, Any], key: str) -> Any:
    held: Any = tables
    for part in key.split("."):
        held = held.get(part) if isinstance(held, dict) else None
    return held


def _put(tables: dict[str, Any], key: str, value: object, where: str) -> None:
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
