"""Parser of study files: a question, conditions, seeds and claims. Free of torch.

It turns the tables of a file, a catalog recipe and the overrides of a command into resolved
conditions, and reports every mistake of a file at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any

from resnetlab.errors import InputError, Problem, input_error
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.recipes.numerics import Numerics
from resnetlab.schema import Name, NonNegativeInt, PositiveInt, decode, strict_dataclass
from resnetlab.studies.parsing.claims import GridPoint
from resnetlab.studies.parsing.conditions import (
    collect_problems,
    grid_points,
    parse_grid,
    parse_ladder,
    unknown_data_problems,
)
from resnetlab.studies.parsing.ladder import select_rungs
from resnetlab.studies.parsing.overrides import Overrides, apply_overrides
from resnetlab.studies.parsing.statements import (
    StatementTables,
    answerable_statements,
    parse_statements,
)
from resnetlab.studies.parsing.toml_tables import catalog_names, read_named
from resnetlab.studies.study import Condition, FileProtocol, Override, Rung, Study


@strict_dataclass
class Variant:
    """Smaller variant of a study: `[budget]` for under an hour on two processor cores, `[evidence]`
    for some hours, with the main claims decided.
    """

    set: tuple[str, ...]
    """Changes as options of a command: `recipe.epochs=2`, `grid.model.depth=[20, 56]`."""
    seeds: PositiveInt
    """Number of seeds."""
    reason: str = ""
    """Reason for this size, chosen before any of its runs; the report prints it."""


@strict_dataclass
class _StudyFile:
    """Study file: question, conditions, seeds and claims. Its names are not looked up yet."""

    name: Name
    """Name of the study and of the folder of its report."""
    question: str
    """Question that the report answers; it is the title of the report."""
    about: str = ""
    """Description of the study, which the report prints."""
    limits: str = ""
    """Limitations of the study, which the report prints."""
    data: Any = None
    """Data set of all conditions: a name, a path, or a table of the fields of data."""
    recipe: Any = None
    """Recipe of all conditions: a name, a path that ends in .toml, or a table with `base`."""
    model: Any = None
    """Network of all conditions: a name, a path that ends in .toml, or a table of its fields."""
    numerics: Numerics = Numerics()
    """Settings that may change the bits of the runs: device, precision and others."""
    seeds: Annotated[tuple[NonNegativeInt, ...], "run seeds"]
    """Seeds of each condition. Every condition has one run for each seed."""
    grid: dict[str, Any] = field(default_factory=dict)
    """Axes with a list of values each. The conditions are the product of the axes."""
    rung: tuple[dict[str, Any], ...] = ()
    """Steps of a ladder, in place of a grid. Each adds a change to the one before it."""
    claim: tuple[dict[str, Any], ...] = ()
    """Claims that the report tests."""
    distance: tuple[dict[str, Any], ...] = ()
    """Distances between test curves that the report measures."""
    ensemble: tuple[dict[str, Any], ...] = ()
    """Ensembles of runs whose accuracy the report measures."""
    references: Any = ()
    """Sources of published numbers: names of the catalog or paths."""
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    """Measurements during and after each run. None changes a bit of a run."""
    budget: Variant | None = None
    """Variant for two cores and under an hour, which the option `--budget` takes."""
    evidence: Variant | None = None
    """Variant that decides the main claims in hours, which the option `--evidence` takes."""


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
    raw, overrides, variant_changes = _apply_variant(raw, where, overrides)
    tables, deferred, axis_values, changes = apply_overrides(raw, where, overrides)
    file, problems = collect_problems(lambda: decode(_StudyFile, tables, where))
    # Conditions and claims are parsed even if other fields have mistakes, so that one error reports
    # all mistakes of a file.
    rungs: tuple[Rung, ...] = ()
    if "rung" in tables:
        rungs, conditions, more = parse_ladder(tables, where)
    else:
        conditions, more = parse_grid(tables, where, deferred)
    if check_data:
        more += unknown_data_problems(tables, where)
    are_complete = not more and file is not None and bool(file.seeds)
    problems += more + _seed_problems(tables, file, where)
    known = conditions if are_complete else []
    has_valid_grid = not any(problem.field.startswith(("grid", "rung")) for problem in problems)
    points: Sequence[Condition] | Sequence[GridPoint] = known
    if has_valid_grid and not known:
        points = grid_points(tables)
    statement_tables = _statement_tables(tables, file)
    statements, more = parse_statements(statement_tables, known, points, where)
    problems += more
    if axis_values and not problems:
        conditions = _select_conditions(conditions, axis_values)
        statements = answerable_statements(statement_tables, statements, conditions, where)
        all_rungs, (rungs, problems) = rungs, select_rungs(rungs, axis_values.get("rung", ()))
        dropped = [rung.claim.statement for rung in all_rungs if rung.claim and rung not in rungs]
        statements = replace(statements, left_out=(*dropped, *statements.left_out))
    if overrides.data is not None or overrides.settings:
        study_data = {"data": raw.get("data") or {"source": overrides.data}}
        conditions = _with_file_protocols(conditions, raw | study_data, where)
    problems += (
        _diagnostics_problems(file.diagnostics, file.numerics, conditions, where)
        if file is not None
        else ()
    )
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
        variant=variant_changes,
        left_out=statements.left_out,
        distances=statements.distances,
        ensembles=statements.ensembles,
        ladder=rungs,
    )


def _select_conditions(
    conditions: Iterable[Condition], axis_values: Mapping[str, Sequence[object]]
) -> list[Condition]:
    """Return the conditions whose value on each axis is one of the given values of that axis."""
    return [
        condition
        for condition in conditions
        if all(condition.values[axis] in values for axis, values in axis_values.items())
    ]


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


def _apply_variant(
    raw: dict[str, Any], where: str, overrides: Overrides
) -> tuple[dict[str, Any], Overrides, tuple[Override, ...]]:
    """Return the tables, the overrides with those of the variant before them, and the changes of
    the variant.

    Raises InputError if a variant is asked for and the file has none of that name.
    """
    name = overrides.variant
    if not name:
        return raw, overrides, ()
    if name not in raw:
        fix = f'leave --{name} out, or add a [{name}] table: set = ["recipe.epochs=2"], seeds = 3'
        raise input_error(where, "the study has no such variant", fix, field=name)
    variant: Variant = decode(Variant, raw[name], where, name)
    reduced = Overrides(settings=variant.set, seeds=tuple(range(variant.seeds)))
    changes = apply_overrides(raw, where, reduced).changes
    combined = replace(
        overrides,
        settings=(*variant.set, *overrides.settings),
        seeds=overrides.seeds or reduced.seeds,
    )
    about = " ".join(filter(None, (str(raw.get("about", "")), variant.reason)))
    named = {"name": f"{raw.get('name', '')}-{name}"} | ({"about": about} if about else {})
    return raw | named, combined, changes


def _with_file_protocols(
    conditions: list[Condition], raw: dict[str, Any], where: str
) -> list[Condition]:
    """Return the conditions with the data and recipe that they have without the command.

    A file that cannot be read without its command asks for nothing else than the command does.
    """
    unchanged = parse_ladder(raw, where)[1] if "rung" in raw else parse_grid(raw, where, {})[0]

    def file_protocol(condition: Condition) -> FileProtocol:
        file = next((c for c in unchanged if c.values == condition.values), condition)
        return FileProtocol(data=file.data, recipe=file.recipe)

    return [replace(c, file_protocol=file_protocol(c)) for c in conditions]


def _diagnostics_problems(
    diagnostics: DiagnosticsConfig,
    numerics: Numerics,
    conditions: list[Condition],
    where: str,
) -> tuple[Problem, ...]:
    """Return problems of measurements with fine-tuning or with batch statistics that processes
    share, and of epochs that no run reaches.

    The epochs are checked only if the recipes give their number.
    """
    if diagnostics != DiagnosticsConfig() and any(c.kind.has_stages for c in conditions):
        message = "not available with a fine-tuning recipe"
        return (Problem(where, message, "remove them", field="diagnostics"),)
    if diagnostics.uses_batch_statistics and any(
        (condition.numerics or numerics).batch_norm == "synchronized" for condition in conditions
    ):
        # One process measures, and the layers would wait for the others.
        message = "not available with statistics that several processes share"
        fix = 'numerics.batch_norm = "local"'
        return (Problem(where, message, fix, field="diagnostics"),)
    epochs = [condition.recipe.epochs for condition in conditions]
    last = max((epoch for epoch in epochs if epoch is not None), default=0)
    late = [epoch for epoch in diagnostics.gradient_norms if epoch > last]
    if not late or None in epochs or not epochs:
        return ()
    fix = f"epochs from 0 (before training) to {last}"
    field = "diagnostics.gradient_norms"
    return (Problem(where, "after the last epoch", fix, field=field, got=str(late[0])),)
