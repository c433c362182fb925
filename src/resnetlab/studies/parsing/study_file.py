"""A study file: a question, conditions, seeds and claims. Free of torch.

Owns how the tables of a file, a catalog recipe and the overrides of a command become resolved conditions, and tells
every mistake of a file at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from resnetlab.data.config import Data
from resnetlab.data.sources import NAMES
from resnetlab.errors import InputError, Problem, nearest
from resnetlab.inspection.diagnostics_config import Instruments
from resnetlab.models.configs import External, Model
from resnetlab.models.parse import from_hub, parse_model
from resnetlab.recipes.finetune import AnyRecipe, Tuning, tuning_names
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.schema import Name, Whole, decode, spec
from resnetlab.shell import last_part
from resnetlab.studies.parsing.claims import kept_claims, kept_tables, parse_claims, parse_distances, parse_ensembles
from resnetlab.studies.parsing.ladder import climb, kept_rungs, parse_rungs
from resnetlab.studies.parsing.overrides import Overrides, overridden
from resnetlab.studies.parsing.references import parse_published
from resnetlab.studies.parsing.toml_tables import below, copied, grid_of, names, put_field, read_named, recipe_table
from resnetlab.studies.study import Condition, Rung, Study

MAX_CONDITIONS = 1_000

PARTS = ("model", "data", "recipe", "numerics")
"""What an axis of the grid may vary."""


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
    rung: tuple[dict[str, Any], ...] = ()
    claim: tuple[dict[str, Any], ...] = ()
    distance: tuple[dict[str, Any], ...] = ()
    ensemble: tuple[dict[str, Any], ...] = ()
    published: Any = ()
    instruments: Instruments = Instruments()


def study_names() -> list[str]:
    """The studies of the catalog."""
    return names("studies")


def load_recipe(value: object, where: str = "", field: str = "recipe") -> AnyRecipe:
    """A recipe, of fine-tuning where it has stages, from a table, a catalog name or a TOML file. Raises InputError."""
    table = recipe_table(value, where, field)
    recipe: AnyRecipe = decode(Tuning if "stages" in table else Recipe, table, where, field)
    return recipe


def load_study(source: str | Path, overrides: Overrides | None = None) -> Study:
    """The study of that catalog name or TOML file, changed by `overrides`.

    Raises InputError with every mistake of the file: unknown fields, conditions that cannot be built, claims about
    conditions that do not exist.
    """
    raw, where = read_named("studies", str(source), "study")
    return parse_study(raw, where, overrides or Overrides())


def parse_study(raw: dict[str, Any], where: str, overrides: Overrides) -> Study:
    """As `load_study`, from tables; `where` names them in errors."""
    tables, later, kept, said = overridden(raw, where, overrides)
    file, problems = _attempt(lambda: decode(_File, tables, where))
    # The parts are read even when the outline has mistakes, so that a person mends a file once.
    rungs: tuple[Rung, ...] = ()
    if "rung" in tables:
        rungs, conditions, more = _rungs(tables, where)
    else:
        conditions, more = _conditions(tables, where, later)
    problems += more
    if "seeds" not in tables:
        problems += (Problem(where, "missing", "seeds = [0, 1, 2]", field="seeds"),)
    if file is not None and not file.seeds:
        problems += (Problem(where, "empty", "seeds = [0, 1, 2]", field="seeds"),)
    if file is not None and len(set(file.seeds)) < len(file.seeds):
        problems += (Problem(where, "a seed stands twice", "give each seed once", field="seeds"),)
    held = tables.get("claim", [])
    stated = [table for table in held if isinstance(table, dict)] if isinstance(held, list) else []
    seeds = len(file.seeds) if file is not None else 0
    known = [] if problems else conditions
    beside, others = parse_published(tables.get("published", []), known, where)
    claims, more = parse_claims(stated, known, seeds, where, beside)
    problems += more + others
    apart, pooled = (file.distance, file.ensemble) if file is not None else ((), ())
    distances, more = parse_distances(apart, known, where)
    ensembles, lost = parse_ensembles(pooled, known, where)
    problems += more + lost
    left_out: tuple[str, ...] = ()
    if kept and not problems:
        conditions = [c for c in conditions if all(c.values[axis] in values for axis, values in kept.items())]
        beside, _ = parse_published(tables.get("published", []), conditions, where)  # a source may lose all its numbers
        claims, left_out = kept_claims(stated, conditions, seeds, where, beside)
        distances = kept_tables(parse_distances, apart, conditions, where)
        ensembles = kept_tables(parse_ensembles, pooled, conditions, where)
        whole, (rungs, problems) = rungs, kept_rungs(rungs, kept.get("rung", ()))
        left_out = (*(rung.claim.says for rung in whole if rung.claim and rung not in rungs), *left_out)
    problems += _unmeasured(file.instruments, conditions, where) if file is not None else ()
    if problems or file is None:
        raise InputError(*{(problem.field, problem.what): problem for problem in problems}.values())
    return Study(
        name=file.name, question=file.question, about=file.about, limits=file.limits, conditions=tuple(conditions),
        seeds=file.seeds, claims=(*(rung.claim for rung in rungs if rung.claim), *claims),
        published=tuple(pair for pair in beside if pair.condition),
        published_only=tuple(pair for pair in beside if not pair.condition), numerics=file.numerics,
        instruments=file.instruments, overrides=said, left_out=left_out, distances=distances,
        ensembles=ensembles, ladder=rungs,
    )  # fmt: skip


def _unmeasured(instruments: Instruments, conditions: list[Condition], where: str) -> tuple[Problem, ...]:
    """Instruments that fine-tuning does not have, and epochs that no run reaches, where the recipes say how many there
    are."""
    if instruments != Instruments() and any(isinstance(condition.recipe, Tuning) for condition in conditions):
        what = "measured while a network is trained from its first weights alone"
        return (Problem(where, what, "remove them: a recipe is of fine-tuning", field="instruments"),)
    epochs = [condition.recipe.epochs for condition in conditions]
    last = max((epoch for epoch in epochs if epoch is not None), default=0)
    late = [epoch for epoch in instruments.gradients if epoch > last]
    if not late or None in epochs or not epochs:
        return ()
    fix = f"epochs from 0 (before training) to {last}"
    return (Problem(where, "after the last epoch", fix, field="instruments.gradients", got=str(late[0])),)


# Parts of a file ------------------------------------------------------------------------------------------------------


def _conditions(
    tables: Mapping[str, Any], where: str, later: Mapping[str, Any]
) -> tuple[list[Condition], tuple[Problem, ...]]:
    """`later` holds what a command sets below an axis (`recipe.epochs` below `recipe`): put after the axis's value."""
    grid = grid_of(tables)
    problems: tuple[Problem, ...] = ()
    for axis, values in grid.items():
        if not isinstance(values, list) or not values:
            problems += (Problem(where, "not a list of values", f"{axis} = [1, 2]", field=f"grid.{axis}"),)
        elif any(value in values[:index] for index, value in enumerate(values)):
            problems += (Problem(where, "a value stands twice", "give each value once", field=f"grid.{axis}"),)
        if axis.split(".")[0] not in PARTS:
            fix = nearest(axis.split(".")[0], PARTS) or "model.depth = [20, 56]"
            problems += (Problem(where, f"not a field of {', '.join(PARTS)}", fix, field=f"grid.{axis}"),)
    bases, more = _bases(tables, where, grid)
    problems += more
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


def _bases(
    tables: Mapping[str, Any], where: str, grid: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The file's own model, data, recipe and numerics, which an axis of the grid may stand in for."""
    bases: dict[str, Any] = {name: tables.get(name) for name in ("model", "data", "numerics")}
    bases["recipe"], problems = _attempt(
        lambda: recipe_table(tables.get("recipe"), where, "recipe") if tables.get("recipe") is not None else None
    )
    for name, example in (("model", "cifar-resnet20"), ("data", "digits"), ("recipe", "adam")):
        fix = f'{name} = "{example}"'
        if tables.get(name) is None and name not in grid and (name == "recipe" or not below(name, grid)):
            problems += (Problem(where, "missing", fix, field=name),)
        elif name != "recipe" and not isinstance(tables.get(name), str | dict | None):
            problems += (Problem(where, "neither a name nor a table", fix, field=name),)
    return bases, problems


def _rungs(tables: Mapping[str, Any], where: str) -> tuple[tuple[Rung, ...], list[Condition], tuple[Problem, ...]]:
    """The rungs of a ladder and their conditions."""
    bases, problems = _bases(tables, where, {})
    rungs, more = parse_rungs(tables, where)
    problems += more
    if problems:
        return (), [], problems
    whole = climb(tables, bases)
    found: dict[str, Condition] = {}
    for index, rung in enumerate(rungs):
        if rung.parent and rung.parent not in found:
            continue  # its parent's mistakes come first
        condition, more = _resolved(copied(whole[rung.condition]), {"rung": rung.condition}, where)
        place = f"rung[{index}].adds" if rung.parent else ""
        problems += tuple(replace(p, field=".".join(part for part in (place, p.field) if part)) for p in more)
        if condition is None:
            continue
        found[rung.condition] = condition = replace(condition, label=rung.condition)
        if rung.parent and _same(condition, found[rung.parent]):
            what, fix = f"changes nothing of {rung.parent}", "give a field another value than its parent has"
            problems += (Problem(where, what, fix, field=place, got="; ".join(rung.adds)),)
    return rungs, list(found.values()), problems


def _same(left: Condition, right: Condition) -> bool:
    return (left.model, left.data, left.recipe) == (right.model, right.data, right.recipe)


def _condition(
    bases: Mapping[str, Any], values: dict[str, Any], where: str, later: Mapping[str, Any]
) -> tuple[Condition | None, tuple[Problem, ...]]:
    parts = {name: copied(base) for name, base in bases.items()}
    problems: tuple[Problem, ...] = ()
    for axis, value in sorted(values.items(), key=lambda item: item[0].count(".")):  # a whole before its parts
        problems += _attempt(partial(put_field, parts, axis, value, where))[1]
    for key, value in later.items():
        problems += _attempt(partial(put_field, parts, key, value, where))[1]
    return (None, problems) if problems else _resolved(parts, values, where)


def _resolved(
    parts: dict[str, Any], values: dict[str, Any], where: str
) -> tuple[Condition | None, tuple[Problem, ...]]:
    """The condition of these tables, labelled by its network."""
    if isinstance(parts["data"], str):
        parts["data"] = {"source": parts["data"]}
    model, more = _attempt(lambda: parse_model(parts["model"], where))
    data, more_data = _attempt(lambda: decode(Data, parts["data"], where, "data"))
    recipe, more_recipe = _attempt(lambda: load_recipe(parts["recipe"], where))
    problems: tuple[Problem, ...] = more + more_data + more_recipe
    numerics = None
    if below("numerics", values):
        numerics, more = _attempt(lambda: decode(Numerics, parts["numerics"], where, "numerics"))
        problems += more
    if problems or model is None:
        return None, problems
    label = model.title
    if isinstance(recipe, Tuning):
        model = from_hub(model)
        if problems := at_odds(model, data, where):
            return None, problems
        label = model.name if isinstance(model, External) else label
    elif data.split is not None:
        what = "cuts photographs for fine-tuning alone, and this recipe is none"
        return None, (Problem(where, what, 'data.validation = 0.1, or recipe = "fixres"', field="data.split"),)
    return Condition(label=label, values=values, model=model, data=data, recipe=recipe, numerics=numerics), ()


def at_odds(model: Model, data: Data, where: str) -> tuple[Problem, ...]:
    """Why a recipe of fine-tuning cannot begin from this network on these data; nothing where it can."""
    problems = []
    if not (isinstance(model, External) and model.weights):
        fix = "timm/NAME, torchvision/NAME, or a TOML file that names weights"
        what = "has no pre-trained weights, from which a recipe of fine-tuning begins"
        problems.append(Problem(where, what, fix, field="model", got=model.slug))
    plain = Data(source=data.source, skip_bad=data.skip_bad, split=data.split)
    odd = [name for name, held in vars(data).items() if held != getattr(plain, name)]
    for name in odd:
        fix = "recipe.train_size" if name == "image_size" else "remove it; data.split cuts a folder of photographs"
        problems.append(Problem(where, "has no place with a recipe of fine-tuning", fix, field=f"data.{name}"))
    if data.source in NAMES or data.source.endswith(".npz"):
        what = "arrays, where a recipe of fine-tuning needs a folder of photographs"
        problems.append(Problem(where, what, "--data DIR", field="data.source", got=data.source))
    return tuple(problems)


def _labelled(conditions: list[Condition]) -> list[Condition]:
    """Labels that tell the conditions apart: the network's title, then the axes that the title leaves open."""
    labels = [condition.label for condition in conditions]
    said = {"train_size": "train", "test_size": "test"}  # of a recipe of fine-tuning, which its name tells whole
    if len(set(labels)) == len(labels):
        return conditions
    hidden = ("model", "model.depth", "model.shortcut", "model.blocks", "model.name")
    open_axes = [
        [(said.get(name := axis.split(".")[-1], name), v) for axis, v in c.values.items() if axis not in hidden]
        for c in conditions
    ]
    tuned = all(isinstance(condition.recipe, Tuning) for condition in conditions) and len(set(labels)) == 1
    named = [
        ", ".join([*([] if tuned else [c.label]), *map(_said, axes)])
        for c, axes in zip(conditions, open_axes, strict=True)
    ]
    if len(set(named)) < len(named):
        named = [", ".join(map(_said, c.values.items())) for c in conditions]
    if len(set(named)) < len(named):  # two files of one name
        named = [f"{label}, {number}" for number, label in enumerate(named, 1)]
    return [replace(condition, label=label) for condition, label in zip(conditions, named, strict=True)]


def _said(axis: tuple[str, Any]) -> str:
    """`lr 0.1`; of a path its last part, for a report has no use for where a file lay."""
    name, value = axis
    if name == "recipe" and value in tuning_names():
        return str(value)
    return f"{name} {last_part(value) if isinstance(value, str) else value}"


def _attempt(action: Callable[[], Any]) -> tuple[Any, tuple[Problem, ...]]:
    try:
        return action(), ()
    except InputError as error:
        return None, error.problems
