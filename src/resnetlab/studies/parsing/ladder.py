"""A ladder: rungs that each add to the one before, and side rungs that start where another rung does. Free of torch.

Owns the `[[rung]]` tables of a study file: what they may say, the tables of the conditions that they make, and the
claim that a rung makes about its parent. Builds no condition and judges nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

from resnetlab.errors import InputError, Problem, nearest
from resnetlab.schema import FieldError, PositiveAmount, decode, spec
from resnetlab.studies.parsing.toml_tables import below, flat, merged
from resnetlab.studies.study import Expect, Rung

ROOTS = {"model": "name", "data": "source", "recipe": "base"}
"""What a rung may add to, and the field that a bare name stands for there."""


@spec
class _Table:
    """A `[[rung]]` as it stands."""

    name: str
    why: str
    adds: dict[str, Any] = field(default_factory=dict)
    instead_of: str = ""
    source: str = ""
    expect: Expect = "greater"
    margin: PositiveAmount | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= 64:
            raise FieldError("name", f"{len(self.name)} letters", "1 to 64 letters")
        if (self.expect == "equal") != (self.margin is not None):
            raise FieldError("margin", 'goes with expect = "equal", and that with it', "margin = 1.0")


def parse_rungs(tables: Mapping[str, Any], where: str) -> tuple[tuple[Rung, ...], tuple[Problem, ...]]:
    """The rungs of a study file in their order, side rungs among them, and every mistake in their form."""
    held = tables["rung"]
    if not isinstance(held, list) or not all(isinstance(table, dict) for table in held):
        return (), (Problem(where, "not tables", "write each as [[rung]]", field="rung"),)
    problems: list[Problem] = []
    read: list[_Table] = []
    for index, table in enumerate(held):
        try:
            read.append(decode(_Table, table, where, f"rung[{index}]"))
        except InputError as error:
            problems += error.problems
    if problems:
        return (), tuple(problems)
    for index, table in enumerate(read):
        problems += _mistakes(table, read[:index], where, f"rung[{index}]")
    if tables.get("grid"):
        problems.append(Problem(where, "given beside [grid]", "keep one of the two", field="rung"))
    main = [table.name for table in read if not table.instead_of]
    parents = dict(zip(main[1:], main, strict=False))
    rungs = tuple(
        Rung(
            condition=table.name, parent=parents.get(table.instead_of or table.name, ""), instead_of=table.instead_of,
            adds=tuple(f"{key} = {_said(value)}" for key, value in flat(table.adds).items()), why=table.why,
            source=table.source, expect=table.expect, margin=table.margin,
        )
        for table in read
    )  # fmt: skip
    return rungs, tuple(problems)


def _mistakes(table: _Table, before: list[_Table], where: str, place: str) -> Iterator[Problem]:
    if table.name in [other.name for other in before]:
        yield Problem(where, "a name stands twice", "give each rung a name of its own", f"{place}.name", table.name)
    if not before and (table.adds or table.instead_of):
        what = "the first rung is the baseline, which is the file's model, data and recipe"
        yield Problem(where, what, "put it into those, and give the first rung a name and a why", f"{place}.adds")
    if before and not table.adds:
        yield Problem(where, "changes nothing", 'adds = { "recipe.normalise" = "train" }', f"{place}.adds")
    known = [other.name for other in before if not other.instead_of][1:]
    if before and table.instead_of and table.instead_of not in known:
        fix = nearest(table.instead_of, known) or "name a rung before it that is built upon another"
        what, allowed = "no such rung before it", ", ".join(known)
        yield Problem(where, what, fix, f"{place}.instead_of", got=table.instead_of, allowed=allowed)
    for key in table.adds:
        if (root := key.split(".")[0]) not in ROOTS:
            fix = nearest(root, ROOTS) or 'adds = { "recipe.normalise" = "train" }'
            yield Problem(where, "not a field of model, data or recipe", fix, f"{place}.adds.{key}")


def climb(tables: Mapping[str, Any], bases: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By rung's name, the tables of its model, data and recipe: what it adds, put on those of its parent.

    `tables` is a file whose rungs have no mistakes, `bases` the file's own model, data and recipe. An inner table whose
    `name` changes replaces its parent's whole, as in a recipe with a base.
    """
    found: dict[str, dict[str, Any]] = {}
    starts: dict[str, dict[str, Any]] = {}
    last = dict(bases)
    for table in tables["rung"]:
        name, beside = table["name"], table.get("instead_of", "")
        starts[name] = starts[beside] if beside else last
        found[name] = _added(starts[name], table.get("adds", {}))
        last = last if beside else found[name]
    return found


def setter(tables: Mapping[str, Any], key: str) -> str:
    """The rung that sets a dotted field, or part of it; empty where none does."""
    held = tables.get("rung")
    for table in held if isinstance(held, list) else ():
        adds = table.get("adds") if isinstance(table, dict) else None
        keys = flat(adds) if isinstance(adds, dict) else {}
        if key in keys or below(key, keys):
            return str(table.get("name"))
    return ""


def axis_of(tables: Mapping[str, Any]) -> dict[str, list[str]]:
    """The axis on which the conditions of a ladder stand, by its name; none where the study is no ladder."""
    held = tables.get("rung")
    names = [str(table.get("name")) for table in held if isinstance(table, dict)] if isinstance(held, list) else []
    return {"rung": names} if names else {}


def kept_rungs(rungs: Iterable[Rung], names: Collection[str]) -> tuple[tuple[Rung, ...], tuple[Problem, ...]]:
    """The rungs of those names, where each has its parent among them."""
    held = tuple(rung for rung in rungs if rung.condition in names)
    return held, tuple(
        Problem("--set", f'"{rung.condition}" stands upon "{rung.parent}", which is left out', "keep both", "grid.rung")
        for rung in held
        if rung.parent and rung.parent not in names
    )


def _added(parts: Mapping[str, Any], adds: Mapping[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for key, value in adds.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        whole = merged(whole, value)
    named = {
        root: {ROOTS[root]: held} if isinstance(held, str) and isinstance(whole.get(root), dict) else held
        for root, held in parts.items()
    }
    return merged(named, whole)


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"
