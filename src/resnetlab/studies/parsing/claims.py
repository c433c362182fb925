"""Parser of a study file's `[[claim]]`, `[[distance]]` and `[[ensemble]]` tables.

It looks up conditions by their axes and reports every mistake at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from resnetlab.errors import InputError, Problem, suggest
from resnetlab.schema import decode
from resnetlab.studies.claims import AnyClaim, Best, Claim, Monotone, condition_labels
from resnetlab.studies.parsing.power_checks import check_claim
from resnetlab.studies.parsing.toml_tables import flatten
from resnetlab.studies.study import Condition, Distance, Ensemble

if TYPE_CHECKING:
    from resnetlab.studies.published.references import MatchedReference

T = TypeVar("T")

_SINGLE_CONDITION_FIELDS: dict[str, tuple[str, ...]] = {
    "greater": ("left", "right"),
    "about": ("left", "right"),
    "equal": ("left", "right"),
    "faster": ("left", "right"),
    "fails-and-trains": ("left", "right"),
    "best": ("left",),
}
_DERIVED_FIELDS = {"monotone": "order", "best": "rivals"}
"""Fields that a file must not give, because they follow from other fields."""


@dataclass(frozen=True)
class GridPoint:
    """Point of the grid in a file whose conditions have mistakes."""

    label: str
    values: Mapping[str, Any]


def parse_claims(
    tables: Iterable[dict[str, Any]],
    conditions: Sequence[Condition] | Sequence[GridPoint],
    seeds: int,
    where: str,
    references: Sequence[MatchedReference] = (),
) -> tuple[list[AnyClaim], tuple[Problem, ...]]:
    """Parse `[[claim]]` tables, look up their conditions, and return the claims and every mistake.

    A margin may be too small for the spread of the `references` of the conditions. If conditions
    have mistakes, the caller passes points of the grid, and only the names of the axes and their
    values are checked. Without any, only the form of the tables is checked.
    """
    complete = [item for item in conditions if isinstance(item, Condition)]
    claims: list[AnyClaim] = []
    problems: list[Problem] = []
    for index, table in enumerate(tables):
        selector = _ConditionSelector(conditions, where, f"claim[{index}]")
        resolved = selector.resolve({"kind": "greater"} | table)
        problems += selector.problems
        try:
            claim = decode(Claim, resolved, where, selector.field)
        except InputError as error:
            problems += error.problems
            continue
        if complete and not selector.problems:
            problems += check_claim(claim, complete, seeds, references, where, selector.field)
            claims.append(claim)
    return claims, tuple(problems)


def answerable_claims(
    tables: Iterable[dict[str, Any]],
    complete: Iterable[AnyClaim],
    conditions: Sequence[Condition],
    seeds: int,
    where: str,
    references: Sequence[MatchedReference] = (),
) -> tuple[list[AnyClaim], tuple[str, ...]]:
    """Return the claims that need only `conditions`, and the sentences of the other claims.

    A claim about every step or every rival needs all of its conditions: with fewer it would be
    another claim.

    Args:
        tables: `[[claim]]` tables of the study file.
        complete: The claims of these tables about all conditions of the study.
        conditions: Conditions that the command keeps.
        seeds: Number of seeds.
        where: File of the tables, for messages.
        references: Published numbers of the conditions.
    """
    labels = {condition.label for condition in conditions}
    claims: list[AnyClaim] = []
    left_out = []
    for table, claim in zip(tables, complete, strict=True):
        parsed, problems = parse_claims([table], conditions, seeds, where, references)
        is_cut = isinstance(claim, Monotone | Best) and not labels.issuperset(
            condition_labels(claim)
        )
        if problems or is_cut:
            left_out.append(claim.statement)
        else:
            claims += parsed
    return claims, tuple(left_out)


def parse_distances(
    tables: Iterable[dict[str, Any]], conditions: Sequence[Condition], where: str
) -> tuple[tuple[Distance, ...], tuple[Problem, ...]]:
    """Parse `[[distance]]` tables: return the distances and every mistake."""
    recorded = {condition.label for condition in conditions if condition.data.test_curve}

    def read(selector: _ConditionSelector, table: dict[str, Any]) -> Distance:
        if "left" in table and "right" in table:
            table["left"], table["right"] = selector.matched_pairs(table["left"], table["right"])
        distance: Distance = decode(Distance, table, where, selector.field)
        if (
            conditions
            and not selector.problems
            and not {*distance.left, *distance.right} <= recorded
        ):
            selector.add_problem(
                "curves of the test images are not recorded", "data.test_curve = true"
            )
        return distance

    return _parse_tables(tables, "distance", conditions, where, read)


def parse_ensembles(
    tables: Iterable[dict[str, Any]], conditions: Sequence[Condition], where: str
) -> tuple[tuple[Ensemble, ...], tuple[Problem, ...]]:
    """Parse `[[ensemble]]` tables: return the ensembles and every mistake."""
    known = {condition.label: condition for condition in conditions}

    def read(selector: _ConditionSelector, table: dict[str, Any]) -> Ensemble:
        if "conditions" in table:
            table["conditions"] = selector.select(table["conditions"], "conditions") or ["?"]
        ensemble: Ensemble = decode(Ensemble, table, where, selector.field)
        members = [known[label] for label in ensemble.conditions if label in known]
        if any(condition.data != members[0].data for condition in members):
            selector.add_problem(
                "conditions of other data",
                "pick conditions that are tested on the same images",
                "conditions",
            )
        if in_train_mode := [c.label for c in members if c.evaluation_mode == "train"]:
            selector.add_problem(
                "the outputs in training mode are not saved",
                "pick conditions that are evaluated in evaluation mode",
                "conditions",
                got=in_train_mode[0],
            )
        if svms := [
            condition.label for condition in members if not condition.kind.has_probabilities
        ]:
            selector.add_problem(
                "the scores of an SVM are no probabilities",
                "pick only networks",
                "conditions",
                got=svms[0],
            )
        return ensemble

    return _parse_tables(tables, "ensemble", conditions, where, read)


def answerable_tables(
    parse: Callable[
        [Iterable[dict[str, Any]], Sequence[Condition], str],
        tuple[tuple[T, ...], tuple[Problem, ...]],
    ],
    tables: Iterable[dict[str, Any]],
    conditions: Sequence[Condition],
    where: str,
) -> tuple[T, ...]:
    """Return the items that `parse` reads from tables that need only a part of the grid."""
    answerable: list[T] = []
    for table in tables:
        items, problems = parse([table], conditions, where)
        if not problems:
            answerable += items
    return tuple(answerable)


def _parse_tables(
    tables: Iterable[dict[str, Any]],
    name: str,
    conditions: Sequence[Condition],
    where: str,
    read: Callable[[_ConditionSelector, dict[str, Any]], T],
) -> tuple[tuple[T, ...], tuple[Problem, ...]]:
    """Read a copy of each table with `read`; return the results and every mistake."""
    results: list[T] = []
    problems: list[Problem] = []
    for index, table in enumerate(tables):
        selector = _ConditionSelector(conditions, where, f"{name}[{index}]")
        try:
            results.append(read(selector, dict(table)))
            problems += selector.problems
        except InputError as error:
            problems += [*selector.problems, *error.problems]
    return tuple(results), tuple(problems)


class _ConditionSelector:
    """Lookup of the conditions that a table names. It collects every mistake in the names."""

    def __init__(
        self, conditions: Sequence[Condition] | Sequence[GridPoint], where: str, field: str
    ) -> None:
        self.conditions, self.where, self.field = conditions, where, field
        self.problems: list[Problem] = []
        self.axes = list(conditions[0].values) if conditions else []

    def resolve(self, table: dict[str, Any]) -> dict[str, Any]:
        """Return the table with labels in place of axes; `?` stands for a label with a problem."""
        kind = str(table["kind"])
        if kind in _DERIVED_FIELDS and _DERIVED_FIELDS[kind] in table:
            self.add_problem("unknown field", "remove it", _DERIVED_FIELDS[kind])
        resolved = dict(table)
        for side in _SINGLE_CONDITION_FIELDS.get(kind, ()):
            if side in table:
                resolved[side] = self._select_one(table[side], side)
        if kind in ("average", "every", "relative") and "left" in table and "right" in table:
            resolved["left"], resolved["right"] = self.matched_pairs(table["left"], table["right"])
        if kind == "monotone":
            resolved["order"] = self._ordered_along(resolved.pop("where", {}), table.get("along"))
        if kind == "best":
            rivals = [
                label
                for label in self.select(resolved.pop("among", {}), "among")
                if label != resolved.get("left")
            ]
            resolved["rivals"] = rivals
            if not rivals and self.conditions and not self.problems:
                self.add_problem("no condition besides left", "pick two or more", "among")
        same = (
            kind in _SINGLE_CONDITION_FIELDS
            and len(_SINGLE_CONDITION_FIELDS[kind]) == 2
            and resolved.get("left") == resolved.get("right") != "?"
        )
        if same and self.conditions and "left" in resolved and not self.problems:
            self.add_problem("left and right are the same condition", "compare two")
        return resolved

    def add_problem(
        self, message: str, fix: str, field: str = "", allowed: str = "", got: str = ""
    ) -> None:
        """Record a problem."""
        path = f"{self.field}.{field}" if field else self.field
        self.problems.append(Problem(self.where, message, fix, path, got=got, allowed=allowed))

    def _find_conditions(self, axes: object, field: str) -> tuple[list[Condition | GridPoint], str]:
        """Return the conditions with these values of the axes, and the axes as text.

        If there is none, the result is empty and the problem is recorded.
        """
        if not isinstance(axes, dict):
            self.add_problem(
                "not a table",
                f"write it as [{field}] with its fields below",
                field,
                got=str(axes)[:60],
            )
            return [], ""
        expected = self._flatten_axes(axes)
        text = ", ".join(f"{axis} = {value}" for axis, value in expected.items()) or "nothing"
        if not self.conditions:
            return [], ""
        known = ", ".join(self.axes)
        if unknown := [axis for axis in expected if axis not in self.axes]:
            fix = suggest(unknown[0], self.axes) or (
                f"choose from {known}" if known else "add a [grid]"
            )
            self.add_problem(f"{unknown[0]} is not an axis of the grid", fix, field, known)
            return [], ""
        conditions: list[Condition | GridPoint] = [
            c
            for c in self.conditions
            if all(c.values.get(axis) == value for axis, value in expected.items())
        ]
        if not conditions:
            self.add_problem(f"no condition with {text}", "use values of the grid", field, known)
        return conditions, text

    def _flatten_axes(self, axes: object) -> dict[str, Any]:
        """Return the axes as dotted fields; a value may be a table, such as a network's."""
        table = axes if isinstance(axes, dict) else {}
        values = {key: value for key, value in table.items() if key in self.axes}
        return values | flatten({key: value for key, value in table.items() if key not in values})

    def _select_one(self, axes: object, field: str) -> str:
        conditions, text = self._find_conditions(axes, field)
        if len(conditions) > 1:
            message = f"{len(conditions)} conditions with {text}"
            fix = "name one condition by its axes"
            self.add_problem(message, fix, field, ", ".join(self.axes))
        return conditions[0].label if len(conditions) == 1 else "?"

    def select(self, axes: object, field: str) -> list[str]:
        """Return the labels of all conditions with these values of the axes."""
        return [condition.label for condition in self._find_conditions(axes, field)[0]]

    def matched_pairs(self, left: object, right: object) -> tuple[list[str], list[str]]:
        """Return the labels of both sides, in pairs that agree in every axis not named."""
        sides = [self._find_conditions(left, "left")[0], self._find_conditions(right, "right")[0]]
        if not all(sides):
            return ["?"], ["?"]
        named = {axis for axes in (left, right) for axis in self._flatten_axes(axes)}
        other_axes = [axis for axis in self.axes if axis not in named]
        keyed = [
            {repr([c.values.get(axis) for axis in other_axes]): c.label for c in side}
            for side in sides
        ]
        if any(len(keys) < len(side) for keys, side in zip(keyed, sides, strict=True)) or (
            keyed[0].keys() != keyed[1].keys() or set(keyed[0].values()) & set(keyed[1].values())
        ):
            message = (
                f"{len(sides[0])} conditions on the left and {len(sides[1])} on the right are no "
                "pairs"
            )
            self.add_problem(
                message,
                "name the same axes on both sides, with other values",
                allowed=", ".join(self.axes),
            )
        return list(keyed[0].values()), [keyed[1].get(key, "?") for key in keyed[0]]

    def _ordered_along(self, axes: object, along: object) -> list[str]:
        conditions, text = self._find_conditions(axes, "where")
        if not conditions or not isinstance(along, str):
            return ["?"]
        if along not in self.axes:
            fix = suggest(along, self.axes) or f"choose from {', '.join(self.axes)}"
            self.add_problem(
                f"{along} is not an axis of the grid", fix, "along", ", ".join(self.axes)
            )
            return ["?"]
        values = [condition.values[along] for condition in conditions]
        if len(conditions) < 2 or any(
            value in values[:index] for index, value in enumerate(values)
        ):
            other = [
                axis for axis in self.axes if axis != along and axis not in self._flatten_axes(axes)
            ]
            fix = f"where = {{ {other[0]} = ... }}" if other else f"two values or more of {along}"
            self.add_problem(
                f"{len(conditions)} conditions with {text} are no steps along {along}", fix, "where"
            )
        if all(isinstance(value, int | float) for value in values):
            conditions = sorted(conditions, key=lambda condition: condition.values[along])
        return [condition.label for condition in conditions]
