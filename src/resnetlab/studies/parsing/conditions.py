"""Conditions of a study file: the points of its grid, or the rungs of its ladder. Free of torch."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from resnetlab.data.config import DataConfig
from resnetlab.data.sources import SOURCE_NAMES, unknown_source
from resnetlab.errors import InputError, Problem, suggest
from resnetlab.messages import format_count
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.parse import parse_model, with_hub_weights
from resnetlab.recipes.finetune import AnyRecipe, FinetuneRecipe, finetune_recipe_names
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.runs.kinds import FROM_SCRATCH, kind_of
from resnetlab.runs.records import EvaluationMode
from resnetlab.schema import decode
from resnetlab.shell import strip_folders
from resnetlab.studies.parsing.claims import GridPoint
from resnetlab.studies.parsing.ladder import parse_rungs, resolve_rungs, rung_axis
from resnetlab.studies.parsing.toml_tables import grid_of, has_subfield, recipe_table, set_field
from resnetlab.studies.study import Condition, Rung

MAX_CONDITIONS = 1_000

FINETUNE_DATA_FIELDS = (
    "skip_bad",
    "split",
    "follow_links",
    "path_column",
    "label_column",
    "nested",
    "group",
    "folds",
    "fold",
)
"""Fields of the data that a fine-tuning recipe uses, beside their source."""

CONDITION_PARTS = ("model", "data", "recipe", "numerics")
"""Parts of a condition that an axis of the grid may vary; it may also vary `evaluation_mode`."""


def load_recipe(value: object, where: str = "") -> AnyRecipe:
    """Read a recipe. A recipe with stages is a fine-tuning recipe.

    Args:
        value: Table of the recipe, its name in the catalog, or the path of a TOML file.
        where: Name of the file in errors.

    Returns:
        The recipe.

    Raises:
        InputError: The recipe is unknown or invalid.
    """
    table = recipe_table(value, where, "recipe")
    kind = FinetuneRecipe if "stages" in table else Recipe
    recipe: AnyRecipe = decode(kind, table, where, "recipe")
    return recipe


def parse_grid(
    tables: Mapping[str, Any], where: str, deferred: Mapping[str, Any]
) -> tuple[list[Condition], tuple[Problem, ...]]:
    """Return the conditions of a grid and every mistake.

    `deferred` has the fields that a command sets below an axis (`recipe.epochs` below `recipe`).
    They are set after the axis's value.
    """
    grid = grid_of(tables)
    problems: tuple[Problem, ...] = ()
    for axis, values in list(grid.items()):
        if more := _axis_problems(axis, values, where):
            problems += more
            del grid[axis]
    # The rest is read without the parts that have mistakes already.
    bases, more = _bases(tables, where, grid_of(tables))
    broken = {problem.field.removeprefix("grid.").split(".")[0] for problem in (*problems, *more)}
    problems += more
    size = math.prod(map(len, grid.values()))
    if size > MAX_CONDITIONS:
        fix = f"at most {MAX_CONDITIONS:,}"
        return [], (Problem(where, format_count(size, "condition"), fix, field="grid"),)
    conditions = []
    for point in itertools.product(*grid.values()):
        values = dict(zip(grid, point, strict=True))
        condition, more = _condition(bases, values, where, deferred, broken)
        problems += more
        if condition:
            conditions.append(condition)
    return _assign_labels(conditions), problems


def _axis_problems(axis: str, values: object, where: str) -> tuple[Problem, ...]:
    """Return the mistakes of an axis of the grid."""
    problems = []
    if not isinstance(values, list) or not values:
        problems.append(("not a list of values", f"{axis} = [1, 2]"))
    elif any(value in values[:index] for index, value in enumerate(values)):
        problems.append(("contains a value twice", "give each value once"))
    part = axis.split(".")[0]
    if axis == "evaluation_mode":
        modes = get_args(EvaluationMode)
        listed = values if isinstance(values, list) else []
        if unknown := [str(value)[:60] for value in listed if value not in modes]:
            fix = 'evaluation_mode = ["eval", "train"]'
            field, allowed = f"grid.{axis}", ", ".join(modes)
            return (Problem(where, "unknown mode", fix, field, unknown[0], allowed),)
    elif part not in CONDITION_PARTS:
        fix = suggest(part, (*CONDITION_PARTS, "evaluation_mode")) or "model.depth = [20, 56]"
        problems.append((f"not a field of {', '.join(CONDITION_PARTS)}", fix))
    return tuple(Problem(where, message, fix, field=f"grid.{axis}") for message, fix in problems)


def grid_points(tables: Mapping[str, Any]) -> list[GridPoint]:
    """Return the points of a grid, or the rungs of a ladder, without a check of their fields.

    There are none if the grid itself has mistakes.
    """
    axes = grid_of(tables) | rung_axis(tables)
    if not all(isinstance(values, list) and values for values in axes.values()):
        return []
    if math.prod(map(len, axes.values())) > MAX_CONDITIONS or not axes:
        return []
    points = (dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values()))
    return [GridPoint(", ".join(map(_axis_text, values.items())), values) for values in points]


def unknown_data_problems(tables: Mapping[str, Any], where: str) -> tuple[Problem, ...]:
    """Return problems for data that are neither a known name nor a path."""
    data, grid = tables.get("data"), grid_of(tables)
    sources = {"data": data, "data.source": data.get("source") if isinstance(data, dict) else None}
    named = [(field, source) for field, source in sources.items() if isinstance(source, str)]
    for axis in ("data", "data.source"):
        values = grid.get(axis)
        if isinstance(values, list):
            named += [(f"grid.{axis}", value) for value in values if isinstance(value, str)]
    return tuple(
        replace(problem, where=where, field=field, got=source)
        for field, source in named
        if source and (problem := unknown_source(source)) is not None
    )


def _bases(
    tables: Mapping[str, Any], where: str, grid: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """Return the file's own model, data, recipe and numerics; an axis may replace each."""
    bases: dict[str, Any] = {name: tables.get(name) for name in ("model", "data", "numerics")}
    recipe = tables.get("recipe")
    problems: tuple[Problem, ...] = ()
    if recipe is not None:
        recipe, problems = collect_problems(lambda: recipe_table(recipe, where, "recipe"))
    bases["recipe"] = recipe
    for name, example in (("model", "cifar-resnet20"), ("data", "digits"), ("recipe", "adam")):
        fix = f'{name} = "{example}"'
        is_varied = name in grid or (name != "recipe" and has_subfield(name, grid))
        if tables.get(name) is None and not is_varied:
            problems += (Problem(where, "missing", fix, field=name),)
        elif name != "recipe" and not isinstance(tables.get(name), str | dict | None):
            problems += (Problem(where, "neither a name nor a table", fix, field=name),)
    return bases, problems


def parse_ladder(
    tables: Mapping[str, Any], where: str
) -> tuple[tuple[Rung, ...], list[Condition], tuple[Problem, ...]]:
    """Return the rungs of a ladder, their conditions and every mistake."""
    bases, problems = _bases(tables, where, {})
    rungs, more = parse_rungs(tables, where)
    problems += more
    if problems:
        return (), [], problems
    parts_by_rung = resolve_rungs(tables, bases)
    conditions: dict[str, Condition] = {}
    for index, rung in enumerate(rungs):
        if rung.parent and rung.parent not in conditions:
            continue  # the mistakes of its parent must be corrected first
        condition, more = _resolve_condition(
            copy.deepcopy(parts_by_rung[rung.condition]), {"rung": rung.condition}, where
        )
        field = f"rung[{index}].adds" if rung.parent else ""
        problems += tuple(replace(p, field=".".join(filter(None, (field, p.field)))) for p in more)
        if condition is None:
            continue
        conditions[rung.condition] = condition = replace(condition, label=rung.condition)
        if rung.parent and _is_same(condition, conditions[rung.parent]):
            message = f"changes nothing of {rung.parent}"
            fix = "give a field another value than its parent has"
            problems += (Problem(where, message, fix, field=field, got="; ".join(rung.adds)),)
    return rungs, list(conditions.values()), problems


def _is_same(left: Condition, right: Condition) -> bool:
    return (left.model, left.data, left.recipe) == (right.model, right.data, right.recipe)


def _condition(
    bases: Mapping[str, Any],
    values: dict[str, Any],
    where: str,
    deferred: Mapping[str, Any],
    broken: Collection[str],
) -> tuple[Condition | None, tuple[Problem, ...]]:
    parts = {name: copy.deepcopy(base) for name, base in bases.items()}
    problems: tuple[Problem, ...] = ()
    # A table comes before its fields. A field below an axis must not change the axis itself.
    axes = sorted(values.items(), key=lambda item: item[0].count("."))
    for key, value in (*((key, copy.deepcopy(value)) for key, value in axes), *deferred.items()):
        if key.split(".")[0] not in broken:
            problems += collect_problems(partial(set_field, parts, key, value, where))[1]
    return (None, problems) if problems else _resolve_condition(parts, values, where, broken)


def _resolve_condition(
    parts: dict[str, Any], values: dict[str, Any], where: str, broken: Collection[str] = ()
) -> tuple[Condition | None, tuple[Problem, ...]]:
    """Return the condition of these tables, with its network as label, and every mistake.

    The parts in `broken` have mistakes that are listed already; the others are checked.
    """
    if isinstance(parts["data"], str):
        parts["data"] = {"source": parts["data"]}
    readers: dict[str, Callable[[], Any]] = {
        "model": lambda: parse_model(parts["model"], where),
        "data": lambda: decode(DataConfig, parts["data"], where, "data"),
        "recipe": lambda: load_recipe(parts["recipe"], where),
    }
    problems: tuple[Problem, ...] = ()
    resolved: dict[str, Any] = {}
    for name, read in readers.items():
        if name not in broken:
            resolved[name], more = collect_problems(read)
            problems += more
    if broken:
        return None, problems
    model, data, recipe = resolved["model"], resolved["data"], resolved["recipe"]
    numerics = None
    if has_subfield("numerics", values):
        read_numerics = partial(decode, Numerics, parts["numerics"], where, "numerics")
        numerics, more = collect_problems(read_numerics)
        problems += more
    if problems or model is None:
        return None, problems
    label = model.title
    assert recipe is not None  # otherwise there are problems
    if kind_of(model, recipe).uses_photos:
        model = with_hub_weights(model)
        if problems := finetune_conflicts(model, data, where):
            return None, problems
        label = model.name if isinstance(model, ExternalConfig) else label
    elif data.split is not None:
        fix = 'data.validation = 0.1, or recipe = "fixres"'
        return None, (Problem(where, "only for fine-tuning recipes", fix, field="data.split"),)
    evaluation_mode = values.get("evaluation_mode", "eval")
    if evaluation_mode == "train" and (problem := _train_mode_problem(parts, model, recipe)):
        message, fix = problem
        return None, (Problem(where, message, fix, field="grid.evaluation_mode", got="train"),)
    return Condition(
        label=label,
        values=values,
        model=model,
        data=data,
        recipe=recipe,
        numerics=numerics,
        evaluation_mode=evaluation_mode,
    ), ()


def _train_mode_problem(
    parts: Mapping[str, Any], model: ModelConfig, recipe: AnyRecipe
) -> tuple[str, str] | None:
    """Return the problem and the fix of a condition that is evaluated in training mode, or None."""
    if kind_of(model, recipe) != FROM_SCRATCH:
        return "only for networks that are trained from scratch", 'evaluation_mode = ["eval"]'
    numerics = parts["numerics"]
    if isinstance(numerics, dict) and numerics.get("batch_norm") == "synchronized":
        fix = 'numerics.batch_norm = "local"'
        return "not available with statistics that several processes share", fix
    return None


def finetune_conflicts(model: ModelConfig, data: DataConfig, where: str) -> tuple[Problem, ...]:
    """Return the problems of this network and these data with a fine-tuning recipe."""
    problems = []
    if not (isinstance(model, ExternalConfig) and model.weights):
        fix = "timm/NAME, torchvision/NAME, or a TOML file that names weights"
        message = "has no pre-trained weights, which a fine-tuning recipe needs"
        problems.append(Problem(where, message, fix, field="model", got=model.slug))
    defaults = DataConfig(source=data.source)
    message = "not available with a fine-tuning recipe"
    for name, value in vars(data).items():
        if name not in FINETUNE_DATA_FIELDS and value != getattr(defaults, name):
            fix = "remove it; data.split splits a folder of photographs"
            fix = "recipe.train_size" if name == "image_size" else fix
            problems.append(Problem(where, message, fix, field=f"data.{name}"))
    if data.source in SOURCE_NAMES or data.source.endswith(".npz"):
        message = "arrays, but a fine-tuning recipe needs a folder of photographs"
        problems.append(Problem(where, message, "--data DIR", field="data.source", got=data.source))
    return tuple(problems)


def _assign_labels(conditions: list[Condition]) -> list[Condition]:
    """Give unique labels: the network's title, then the axes that it does not contain."""
    labels = [condition.label for condition in conditions]
    # Axes of a fine-tuning recipe, whose name describes the rest.
    short_names = {"train_size": "train", "test_size": "test"}
    if len(set(labels)) == len(labels):
        return conditions
    hidden = ("model", "model.depth", "model.shortcut", "model.blocks", "model.name")
    tuned = all(condition.kind.has_stages for condition in conditions) and len(set(labels)) == 1
    candidates = []
    for condition in conditions:
        words = [] if tuned else [condition.label]
        for axis, value in condition.values.items():
            name = axis.split(".")[-1]
            if axis not in hidden:
                words.append(_axis_text((short_names.get(name, name), value)))
        candidates.append(", ".join(words))
    if len(set(candidates)) < len(candidates):
        candidates = [", ".join(map(_axis_text, c.values.items())) for c in conditions]
    if len(set(candidates)) < len(candidates):  # two files have the same name
        candidates = [f"{label}, {number}" for number, label in enumerate(candidates, 1)]
    pairs = zip(conditions, candidates, strict=True)
    return [replace(condition, label=label) for condition, label in pairs]


def _axis_text(axis: tuple[str, Any]) -> str:
    """Return an axis as text, such as `lr 0.1`, and only the last part of a path."""
    name, value = axis
    if name == "evaluation_mode":
        return f"evaluated in {value} mode"
    if name == "recipe" and value in finetune_recipe_names():
        return str(value)
    return f"{name} {strip_folders(value) if isinstance(value, str) else value}"


def collect_problems(action: Callable[[], Any]) -> tuple[Any, tuple[Problem, ...]]:
    """Return the result of `action`, or None and the mistakes that it reports."""
    try:
        return action(), ()
    except InputError as error:
        return None, error.problems
