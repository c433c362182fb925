"""Parser of ladders: rungs that add to the rung before, and side rungs. Free of torch.

This module defines the `[[rung]]` tables of a study file and turns them into the tables of their
conditions. It builds no condition itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

from resnetlab.errors import InputError, Problem, suggest
from resnetlab.schema import PositiveFloat, decode, strict_dataclass
from resnetlab.schema_errors import FieldError
from resnetlab.studies.parsing.toml_tables import deep_merge, flatten, has_subfield
from resnetlab.studies.published.bibliography import Citation
from resnetlab.studies.study import Expect, Rung

BARE_NAME_FIELDS = {"model": "name", "data": "source", "recipe": "base"}
"""Parts that a rung may add to, each with the field that a bare name sets."""


@strict_dataclass
class _RungTable:
    """Table `[[rung]]` of a study file."""

    name: str
    """Name of the rung, which is the label of its condition."""
    why: str
    """Explanation in a sentence: the effect of the change and the reason that it should help."""
    adds: dict[str, Any] = field(default_factory=dict)
    """Fields of model, data and recipe that the rung sets, with their values."""
    instead_of: str = ""
    """Earlier rung that this side rung replaces; empty for a rung of the ladder itself."""
    source: Citation = ""
    """Source of the change."""
    expect: Expect = "greater"
    """Expected result against the parent. `none` makes no claim."""
    margin: PositiveFloat | None = None
    """Margin in points, for `expect = "equal"` alone."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= 64:
            raise FieldError("name", f"{len(self.name)} letters", "1 to 64 letters")
        if (self.expect == "equal") != (self.margin is not None):
            raise FieldError(
                "margin", 'requires expect = "equal", which requires a margin', "margin = 1.0"
            )


def parse_rungs(
    tables: Mapping[str, Any], where: str
) -> tuple[tuple[Rung, ...], tuple[Problem, ...]]:
    """Parse a study file's rungs, side rungs included: return them in order and every mistake."""
    rung_tables = tables["rung"]
    if not isinstance(rung_tables, list) or not all(
        isinstance(table, dict) for table in rung_tables
    ):
        return (), (Problem(where, "not tables", "write each as [[rung]]", field="rung"),)
    problems: list[Problem] = []
    parsed: list[_RungTable] = []
    for index, table in enumerate(rung_tables):
        try:
            parsed.append(decode(_RungTable, table, where, f"rung[{index}]"))
        except InputError as error:
            problems += error.problems
    if problems:
        return (), tuple(problems)
    for index, table in enumerate(parsed):
        problems += _rung_problems(table, parsed[:index], where, f"rung[{index}]")
    if tables.get("grid"):
        problems.append(
            Problem(where, "not allowed together with [grid]", "keep one of the two", field="rung")
        )
    main = [table.name for table in parsed if not table.instead_of]
    parents = dict(zip(main[1:], main, strict=False))
    rungs = tuple(
        Rung(
            condition=table.name,
            parent=parents.get(table.instead_of or table.name, ""),
            instead_of=table.instead_of,
            adds=tuple(
                f"{key} = {_value_text(value)}" for key, value in flatten(table.adds).items()
            ),
            why=table.why,
            source=table.source,
            expect=table.expect,
            margin=table.margin,
        )
        for table in parsed
    )
    return rungs, tuple(problems)


def _rung_problems(
    table: _RungTable, earlier_rungs: list[_RungTable], where: str, field: str
) -> Iterator[Problem]:
    if table.name in [other.name for other in earlier_rungs]:
        yield Problem(
            where,
            "given twice",
            "give each rung another name",
            f"{field}.name",
            table.name,
        )
    if not earlier_rungs and (table.adds or table.instead_of):
        message = "the first rung is the baseline, which is the file's model, data and recipe"
        yield Problem(
            where,
            message,
            "set these fields there; the first rung has only a name and a why",
            f"{field}.adds",
        )
    if earlier_rungs and not table.adds:
        yield Problem(
            where, "changes nothing", 'adds = { "recipe.normalize" = "train" }', f"{field}.adds"
        )
    known = [other.name for other in earlier_rungs if not other.instead_of][1:]
    if earlier_rungs and table.instead_of and table.instead_of not in known:
        fix = suggest(table.instead_of, known) or "name an earlier rung that has a parent"
        message, allowed = "no such earlier rung", ", ".join(known)
        yield Problem(
            where, message, fix, f"{field}.instead_of", got=table.instead_of, allowed=allowed
        )
    for key in table.adds:
        if (root := key.split(".")[0]) not in BARE_NAME_FIELDS:
            fix = suggest(root, BARE_NAME_FIELDS) or 'adds = { "recipe.normalize" = "train" }'
            yield Problem(where, "not a field of model, data or recipe", fix, f"{field}.adds.{key}")


def resolve_rungs(tables: Mapping[str, Any], bases: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tables of model, data and recipe of each rung, by its name.

    They are those of its parent with what the rung adds. `tables` is a file whose rungs have no
    mistakes; `bases` has the file's own model, data and recipe. An inner table with another `name`
    replaces that of the parent completely, as in a recipe with a base.
    """
    parts_by_rung: dict[str, dict[str, Any]] = {}
    starts: dict[str, dict[str, Any]] = {}
    last = dict(bases)
    for table in tables["rung"]:
        name, instead_of = table["name"], table.get("instead_of", "")
        starts[name] = starts[instead_of] if instead_of else last
        parts_by_rung[name] = _with_additions(starts[name], table.get("adds", {}))
        last = last if instead_of else parts_by_rung[name]
    return parts_by_rung


def rung_setting(tables: Mapping[str, Any], key: str) -> str:
    """Return the name of the rung that sets a dotted field or a part of it; empty if none does."""
    rungs = tables.get("rung")
    for table in rungs if isinstance(rungs, list) else ():
        adds = table.get("adds") if isinstance(table, dict) else None
        keys = flatten(adds) if isinstance(adds, dict) else {}
        if key in keys or has_subfield(key, keys):
            return str(table.get("name"))
    return ""


def rung_axis(tables: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the axis of a ladder with its rungs as values; empty if the study has no ladder."""
    rungs = tables.get("rung")
    names = (
        [str(table.get("name")) for table in rungs if isinstance(table, dict)]
        if isinstance(rungs, list)
        else []
    )
    return {"rung": names} if names else {}


def select_rungs(
    rungs: Iterable[Rung], names: Collection[str]
) -> tuple[tuple[Rung, ...], tuple[Problem, ...]]:
    """Return the rungs with these names, and a problem for each whose parent is not among them."""
    selected = tuple(rung for rung in rungs if rung.condition in names)
    return selected, tuple(
        Problem(
            "--set",
            f'"{rung.condition}" needs its parent "{rung.parent}", which is left out',
            "keep both",
            "grid.rung",
        )
        for rung in selected
        if rung.parent and rung.parent not in names
    )


def _with_additions(parts: Mapping[str, Any], adds: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in adds.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        nested = deep_merge(nested, value)
    named = dict(parts)
    for part, value in parts.items():
        if isinstance(value, str) and isinstance(nested.get(part), dict):
            named[part] = {BARE_NAME_FIELDS[part]: value}
    return deep_merge(named, nested)


def _value_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"
