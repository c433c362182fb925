"""Parser of study files: a question, conditions, seeds and claims. Free of torch.

It turns the tables of a file, a catalog recipe and the overrides of a command into resolved
conditions, and reports every mistake of a file at once.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from resnetlab.data.config import DataConfig
from resnetlab.data.sources import SOURCE_NAMES, unknown_source
from resnetlab.errors import InputError, Problem, input_error, suggest
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.messages import format_count
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.parse import parse_model, with_hub_weights
from resnetlab.recipes.finetune import AnyRecipe, FinetuneRecipe, finetune_recipe_names
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.runs.kinds import kind_of
from resnetlab.schema import Name, NonNegativeInt, PositiveInt, decode, strict_dataclass
from resnetlab.shell import strip_folders
from resnetlab.studies.parsing.claims import GridPoint
from resnetlab.studies.parsing.ladder import (
    parse_rungs,
    resolve_rungs,
    rung_axis,
    select_rungs,
)
from resnetlab.studies.parsing.overrides import Overrides, apply_overrides
from resnetlab.studies.parsing.statements import (
    StatementTables,
    answerable_statements,
    parse_statements,
)
from resnetlab.studies.parsing.toml_tables import (
    catalog_names,
    grid_of,
    has_subfield,
    read_named,
    recipe_table,
    set_field,
)
from resnetlab.studies.study import Condition, FileProtocol, Rung, Study

MAX_CONDITIONS = 1_000

CONDITION_PARTS = ("model", "data", "recipe", "numerics")
"""Parts of a condition that an axis of the grid may vary."""


@strict_dataclass
class Budget:
    """Reduced variant of a study, which two processor cores finish in under an hour."""

    set: tuple[str, ...]
    """Changes as options of a command: `recipe.epochs=2`, `grid.model.depth=[20, 56]`."""
    seeds: PositiveInt
    """Number of seeds."""


@strict_dataclass
class _StudyFile:
    """Study file before names are looked up."""

    name: Name
    question: str
    about: str = ""
    limits: str = ""
    data: Any = None
    recipe: Any = None
    model: Any = None
    numerics: Numerics = Numerics()
    seeds: Annotated[tuple[NonNegativeInt, ...], "run seeds"]
    grid: dict[str, Any] = field(default_factory=dict)
    rung: tuple[dict[str, Any], ...] = ()
    claim: tuple[dict[str, Any], ...] = ()
    distance: tuple[dict[str, Any], ...] = ()
    ensemble: tuple[dict[str, Any], ...] = ()
    references: Any = ()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    budget: Budget | None = None


def load_recipe(value: object, where: str = "", field: str = "recipe") -> AnyRecipe:
    """Read a recipe from a table, a catalog name or a TOML file. Raises InputError.

    A recipe with stages is a fine-tuning recipe.
    """
    table = recipe_table(value, where, field)
    recipe: AnyRecipe = decode(FinetuneRecipe if "stages" in table else Recipe, table, where, field)
    return recipe


def load_study(source: str | Path, overrides: Overrides | None = None) -> Study:
    """Read a study from a catalog name or a TOML file and apply `overrides`.

    Raises InputError with every mistake of the file: unknown fields, conditions that cannot be
    built, claims about conditions that do not exist.
    """
    raw, where = read_named("studies", str(source), "study")
    overrides = overrides or Overrides()
    # A study of the catalog may name a folder of photographs that a user has elsewhere.
    check_data = str(source) not in catalog_names("studies") or overrides.data is not None
    return parse_study(raw, where, overrides, check_data=check_data)


def parse_study(
    raw: dict[str, Any], where: str, overrides: Overrides, *, check_data: bool = True
) -> Study:
    """Parse a study from tables, as `load_study` does from a file.

    `where` names the tables in errors. With `check_data`, an unknown name of data is a mistake.
    """
    raw, overrides, budget_changes = _apply_budget(raw, where, overrides)
    tables, deferred, axis_values, changes = apply_overrides(raw, where, overrides)
    file, problems = _collect_problems(lambda: decode(_StudyFile, tables, where))
    # The parts are read even if the outline has mistakes, so that a person has to correct a file
    # only once.
    rungs: tuple[Rung, ...] = ()
    if "rung" in tables:
        rungs, conditions, more = _rungs(tables, where)
    else:
        conditions, more = _conditions(tables, where, deferred)
    if check_data:
        more += _unknown_data(tables, where)
    are_complete = not more and file is not None and bool(file.seeds)
    problems += more + _seed_problems(tables, file, where)
    known = conditions if are_complete else []
    has_valid_grid = not any(problem.field.startswith(("grid", "rung")) for problem in problems)
    points: Sequence[Condition] | Sequence[GridPoint] = known
    if has_valid_grid and not known:
        points = _grid_points(tables)
    statement_tables = _statement_tables(tables, file)
    statements, more = parse_statements(statement_tables, known, points, where)
    problems += more
    if axis_values and not problems:
        selected = axis_values.items()
        conditions = [c for c in conditions if all(c.values[a] in v for a, v in selected)]
        statements = answerable_statements(statement_tables, conditions, where)
        all_rungs, (rungs, problems) = rungs, select_rungs(rungs, axis_values.get("rung", ()))
        lost = [rung.claim.statement for rung in all_rungs if rung.claim and rung not in rungs]
        statements = replace(statements, left_out=(*lost, *statements.left_out))
    if overrides.data is not None or overrides.settings:
        study_data = {"data": raw.get("data") or {"source": overrides.data}}
        conditions = _with_file_protocols(conditions, raw | study_data, where)
    problems += _check_instruments(file.diagnostics, conditions, where) if file is not None else ()
    if problems or file is None:
        raise InputError(*{(p.field, p.message, p.got): p for p in problems}.values())
    return Study(
        name=file.name,
        question=file.question,
        about=file.about,
        limits=file.limits,
        conditions=tuple(conditions),
        seeds=file.seeds,
        claims=(*(rung.claim for rung in rungs if rung.claim), *statements.claims),
        references=tuple(pair for pair in statements.references if pair.condition),
        unmatched_references=tuple(pair for pair in statements.references if not pair.condition),
        numerics=file.numerics,
        diagnostics=file.diagnostics,
        overrides=changes,
        budget=budget_changes,
        left_out=statements.left_out,
        distances=statements.distances,
        ensembles=statements.ensembles,
        ladder=rungs,
    )


MAX_SEED = 2**63 - 1
"""Largest seed: a larger number is no whole number of TOML."""


def _seed_problems(
    tables: Mapping[str, Any], file: _StudyFile | None, where: str
) -> tuple[Problem, ...]:
    example = "seeds = [0, 1, 2]"
    if "seeds" not in tables:
        return (Problem(where, "missing", example, field="seeds"),)
    if file is not None and not file.seeds:
        return (Problem(where, "empty", example, field="seeds"),)
    if file is not None and len(set(file.seeds)) < len(file.seeds):
        return (Problem(where, "contains a seed twice", "give each seed once", field="seeds"),)
    if file is not None and max(file.seeds) > MAX_SEED:
        message = "contains a whole number beyond 64 bits"  # no file could be read with it
        return (Problem(where, message, example, field="seeds"),)
    return ()


def _statement_tables(tables: Mapping[str, Any], file: _StudyFile | None) -> StatementTables:
    """Return the tables that make statements, as far as a file with mistakes has them."""
    claims = tables.get("claim", [])
    return StatementTables(
        claims=[t for t in claims if isinstance(t, dict)] if isinstance(claims, list) else [],
        distances=file.distance if file is not None else (),
        ensembles=file.ensemble if file is not None else (),
        references=tables.get("references", []),
        seeds=len(file.seeds) if file is not None else 0,
    )


def _apply_budget(
    raw: dict[str, Any], where: str, overrides: Overrides
) -> tuple[dict[str, Any], Overrides, tuple[str, ...]]:
    """Return the tables, the overrides with those of the budget before them, and the changes of the
    budget as text.

    Raises InputError if a budget is asked for and the file has none.
    """
    if not overrides.budget:
        return raw, overrides, ()
    if "budget" not in raw:
        fix = 'leave --budget out, or add a [budget] table: set = ["recipe.epochs=2"], seeds = 3'
        raise input_error(where, "the study has no reduced variant", fix, field="budget")
    budget: Budget = decode(Budget, raw["budget"], where, "budget")
    reduced = Overrides(settings=budget.set, seeds=tuple(range(budget.seeds)))
    changes = apply_overrides(raw, where, reduced).summary
    combined = replace(
        overrides,
        settings=(*budget.set, *overrides.settings),
        seeds=overrides.seeds or reduced.seeds,
    )
    return raw | {"name": f"{raw.get('name', '')}-budget"}, combined, changes


def _with_file_protocols(
    conditions: list[Condition], raw: dict[str, Any], where: str
) -> list[Condition]:
    """Return the conditions with the data and recipe that they have without the command.

    A file that cannot be read without its command asks for nothing else than the command does.
    """
    unchanged = _rungs(raw, where)[1] if "rung" in raw else _conditions(raw, where, {})[0]

    def file_protocol(condition: Condition) -> FileProtocol:
        file = next((c for c in unchanged if c.values == condition.values), condition)
        return FileProtocol(data=file.data, recipe=file.recipe)

    return [replace(c, file_protocol=file_protocol(c)) for c in conditions]


def _check_instruments(
    diagnostics: DiagnosticsConfig, conditions: list[Condition], where: str
) -> tuple[Problem, ...]:
    """Return problems of measurements without fine-tuning, and of epochs that no run reaches.

    The epochs are checked only if the recipes give their number.
    """
    if diagnostics != DiagnosticsConfig() and any(c.kind.has_stages for c in conditions):
        message = "not available with a fine-tuning recipe"
        return (Problem(where, message, "remove them", field="diagnostics"),)
    epochs = [condition.recipe.epochs for condition in conditions]
    last = max((epoch for epoch in epochs if epoch is not None), default=0)
    late = [epoch for epoch in diagnostics.gradient_norms if epoch > last]
    if not late or None in epochs or not epochs:
        return ()
    fix = f"epochs from 0 (before training) to {last}"
    field = "diagnostics.gradient_norms"
    return (Problem(where, "after the last epoch", fix, field=field, got=str(late[0])),)


# Parts of a file
# --------------------------------------------------------------------------------------------------


def _conditions(
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
    if part not in CONDITION_PARTS:
        fix = suggest(part, CONDITION_PARTS) or "model.depth = [20, 56]"
        problems.append((f"not a field of {', '.join(CONDITION_PARTS)}", fix))
    return tuple(Problem(where, message, fix, field=f"grid.{axis}") for message, fix in problems)


def _grid_points(tables: Mapping[str, Any]) -> list[GridPoint]:
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


def _unknown_data(tables: Mapping[str, Any], where: str) -> tuple[Problem, ...]:
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
        recipe, problems = _collect_problems(lambda: recipe_table(recipe, where, "recipe"))
    bases["recipe"] = recipe
    for name, example in (("model", "cifar-resnet20"), ("data", "digits"), ("recipe", "adam")):
        fix = f'{name} = "{example}"'
        is_varied = name in grid or (name != "recipe" and has_subfield(name, grid))
        if tables.get(name) is None and not is_varied:
            problems += (Problem(where, "missing", fix, field=name),)
        elif name != "recipe" and not isinstance(tables.get(name), str | dict | None):
            problems += (Problem(where, "neither a name nor a table", fix, field=name),)
    return bases, problems


def _rungs(
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
            problems += _collect_problems(partial(set_field, parts, key, value, where))[1]
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
            resolved[name], more = _collect_problems(read)
            problems += more
    if broken:
        return None, problems
    model, data, recipe = resolved["model"], resolved["data"], resolved["recipe"]
    numerics = None
    if has_subfield("numerics", values):
        read_numerics = partial(decode, Numerics, parts["numerics"], where, "numerics")
        numerics, more = _collect_problems(read_numerics)
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
    return Condition(
        label=label, values=values, model=model, data=data, recipe=recipe, numerics=numerics
    ), ()


def finetune_conflicts(model: ModelConfig, data: DataConfig, where: str) -> tuple[Problem, ...]:
    """Return the problems of this network and these data with a fine-tuning recipe."""
    problems = []
    if not (isinstance(model, ExternalConfig) and model.weights):
        fix = "timm/NAME, torchvision/NAME, or a TOML file that names weights"
        message = "has no pre-trained weights, which a fine-tuning recipe needs"
        problems.append(Problem(where, message, fix, field="model", got=model.slug))
    allowed_data = DataConfig(
        source=data.source,
        skip_bad=data.skip_bad,
        split=data.split,
        follow_links=data.follow_links,
        path_column=data.path_column,
        label_column=data.label_column,
    )
    message = "not available with a fine-tuning recipe"
    for name, value in vars(data).items():
        if value != getattr(allowed_data, name):
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
    if name == "recipe" and value in finetune_recipe_names():
        return str(value)
    return f"{name} {strip_folders(value) if isinstance(value, str) else value}"


def _collect_problems(action: Callable[[], Any]) -> tuple[Any, tuple[Problem, ...]]:
    try:
        return action(), ()
    except InputError as error:
        return None, error.problems
