"""The `[[claim]]` tables of a file: conditions picked by their axes, and every mistake told at once. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from resnetlab.errors import InputError, Problem, nearest
from resnetlab.models.configs.bag_of_words import BagOfWords
from resnetlab.schema import decode
from resnetlab.studies.claims import AnyClaim, Claim
from resnetlab.studies.parsing.power_checks import refusals
from resnetlab.studies.parsing.toml_tables import flat
from resnetlab.studies.study import Distance, Ensemble

if TYPE_CHECKING:
    from resnetlab.studies.references import Beside
    from resnetlab.studies.study import Condition

T = TypeVar("T")

_ONE: dict[str, tuple[str, ...]] = {
    "greater": ("left", "right"), "about": ("left", "right"), "equal": ("left", "right"), "faster": ("left", "right"),
    "fails-and-trains": ("left", "right"), "best": ("left",),
}  # fmt: skip
_RESOLVED = {"monotone": "order", "best": "rivals"}
"""Fields that a file does not give: they follow from others."""


def parse_claims(
    tables: Iterable[dict[str, Any]],
    conditions: Sequence[Condition],
    seeds: int,
    where: str,
    published: Sequence[Beside] = (),
) -> tuple[list[AnyClaim], tuple[Problem, ...]]:
    """The `[[claim]]` tables with their conditions looked up, and every mistake in them.

    The spread of `published` numbers beside the conditions may refuse a margin. Without conditions, which had mistakes
    of their own, only the tables' form is looked at.
    """
    claims: list[AnyClaim] = []
    problems: list[Problem] = []
    for index, table in enumerate(tables):
        picker = _Picker(conditions, where, f"claim[{index}]")
        whole = picker.resolved({"kind": "greater"} | table)
        problems += picker.problems
        try:
            claim = decode(Claim, whole, where, picker.field)
        except InputError as error:
            problems += error.problems
            continue
        if conditions and not picker.problems:
            problems += refusals(claim, conditions, seeds, published, where, picker.field)
            claims.append(claim)
    return claims, tuple(problems)


def kept_claims(
    tables: Iterable[dict[str, Any]],
    conditions: Sequence[Condition],
    seeds: int,
    where: str,
    published: Sequence[Beside] = (),
) -> tuple[list[AnyClaim], tuple[str, ...]]:
    """Of claims that the whole grid can answer, those that some of its `conditions` can; and what the others say."""
    claims: list[AnyClaim] = []
    left_out = []
    for table in tables:
        found, problems = parse_claims([table], conditions, seeds, where, published)
        claims += [] if problems else found
        left_out += [str(table["says"])] if problems else []
    return claims, tuple(left_out)


def parse_distances(
    tables: Iterable[dict[str, Any]], conditions: Sequence[Condition], where: str
) -> tuple[tuple[Distance, ...], tuple[Problem, ...]]:
    """The `[[distance]]` tables with their pairs of conditions looked up, and every mistake in them."""
    followed = {condition.label for condition in conditions if condition.data.test_curve}

    def read(picker: _Picker, table: dict[str, Any]) -> Distance:
        if "left" in table and "right" in table:
            table["left"], table["right"] = picker.matched(table["left"], table["right"])
        distance: Distance = decode(Distance, table, where, picker.field)
        if conditions and not picker.problems and not {*distance.left, *distance.right} <= followed:
            picker.tell("curves of the test images are not recorded", "data.test_curve = true")
        return distance

    return _each(tables, "distance", conditions, where, read)


def parse_ensembles(
    tables: Iterable[dict[str, Any]], conditions: Sequence[Condition], where: str
) -> tuple[tuple[Ensemble, ...], tuple[Problem, ...]]:
    """The `[[ensemble]]` tables with their conditions looked up, and every mistake in them."""
    known = {condition.label: condition for condition in conditions}

    def read(picker: _Picker, table: dict[str, Any]) -> Ensemble:
        if "of" in table:
            table["of"] = picker.many(table["of"], "of") or ["?"]
        ensemble: Ensemble = decode(Ensemble, table, where, picker.field)
        held = [known[label] for label in ensemble.of if label in known]
        if any(condition.data != held[0].data for condition in held):
            picker.tell("conditions of other data", "pick conditions that are tested on the same images", "of")
        if words := [condition.label for condition in held if isinstance(condition.model, BagOfWords)]:
            picker.tell("the scores of an SVM are no probabilities", "pick networks alone", "of", got=words[0])
        return ensemble

    return _each(tables, "ensemble", conditions, where, read)


def kept_tables(
    parse: Callable[[Iterable[dict[str, Any]], Sequence[Condition], str], tuple[tuple[T, ...], tuple[Problem, ...]]],
    tables: Iterable[dict[str, Any]], conditions: Sequence[Condition], where: str,
) -> tuple[T, ...]:  # fmt: skip
    """What `parse` makes of the tables that some of a grid's `conditions` can answer."""
    return tuple(
        one for found, lost in (parse([table], conditions, where) for table in tables) if not lost for one in found
    )


def _each(
    tables: Iterable[dict[str, Any]], name: str, conditions: Sequence[Condition], where: str,
    read: Callable[[_Picker, dict[str, Any]], T],
) -> tuple[tuple[T, ...], tuple[Problem, ...]]:  # fmt: skip
    """What `read` makes of a copy of each table, and every mistake that it tells the picker or raises."""
    found: list[T] = []
    problems: list[Problem] = []
    for index, table in enumerate(tables):
        picker = _Picker(conditions, where, f"{name}[{index}]")
        try:
            found.append(read(picker, dict(table)))
            problems += picker.problems
        except InputError as error:
            problems += [*picker.problems, *error.problems]
    return tuple(found), tuple(problems)


class _Picker:
    """Looks up the conditions of one claim and gathers what is wrong with how it names them."""

    def __init__(self, conditions: Sequence[Condition], where: str, field: str) -> None:
        self.conditions, self.where, self.field = conditions, where, field
        self.problems: list[Problem] = []
        self.axes = list(conditions[0].values) if conditions else []

    def resolved(self, table: dict[str, Any]) -> dict[str, Any]:
        """The table with labels in place of axes; stand-ins where there is a problem."""
        kind = str(table["kind"])
        if kind in _RESOLVED and _RESOLVED[kind] in table:
            self.tell("unknown field", "remove it", _RESOLVED[kind])
        whole = dict(table)
        for side in _ONE.get(kind, ()):
            if side in table:
                whole[side] = self._one(table[side], side)
        if kind in ("average", "relative") and "left" in table and "right" in table:
            whole["left"], whole["right"] = self.matched(table["left"], table["right"])
        if kind == "monotone":
            whole["order"] = self._along(whole.pop("where", {}), table.get("along"))
        if kind == "best":
            rivals = [label for label in self.many(whole.pop("among", {}), "among") if label != whole.get("left")]
            whole["rivals"] = rivals
            if not rivals and self.conditions and not self.problems:
                self.tell("no condition besides left", "pick two or more", "among")
        same = kind in _ONE and len(_ONE[kind]) == 2 and whole.get("left") == whole.get("right") != "?"
        if same and self.conditions and "left" in whole and not self.problems:
            self.tell("left and right are one condition", "compare two")
        return whole

    def tell(self, what: str, fix: str, field: str = "", allowed: str = "", got: str = "") -> None:
        place = f"{self.field}.{field}" if field else self.field
        self.problems.append(Problem(self.where, what, fix, place, got=got, allowed=allowed))

    def _found(self, axes: object, field: str) -> tuple[list[Condition], str]:
        """The conditions with these values of the axes, and the axes as words; None found where that was told."""
        if not isinstance(axes, dict):
            self.tell("not a table", f"write it as [{field}] with its fields below", field, got=str(axes)[:60])
            return [], ""
        wanted = self._wanted(axes)
        said = ", ".join(f"{axis} = {value}" for axis, value in wanted.items()) or "nothing"
        if not self.conditions:
            return [], ""
        known = ", ".join(self.axes)
        if unknown := [axis for axis in wanted if axis not in self.axes]:
            fix = nearest(unknown[0], self.axes) or (f"choose from {known}" if known else "add a [grid]")
            self.tell(f"{unknown[0]} is not an axis of the grid", fix, field, known)
            return [], ""
        held = [c for c in self.conditions if all(c.values.get(axis) == value for axis, value in wanted.items())]
        if not held:
            self.tell(f"no condition with {said}", "use values of the grid", field, known)
        return held, said

    def _wanted(self, axes: object) -> dict[str, Any]:
        """The axes as dotted fields; the value of one may be a table, as of a network that has no name."""
        held = axes if isinstance(axes, dict) else {}
        whole = {key: value for key, value in held.items() if key in self.axes}
        return whole | flat({key: value for key, value in held.items() if key not in whole})

    def _one(self, axes: object, field: str) -> str:
        held, said = self._found(axes, field)
        if len(held) > 1:
            what, fix = f"{len(held)} conditions with {said}", "name one condition by its axes"
            self.tell(what, fix, field, ", ".join(self.axes))
        return held[0].label if len(held) == 1 else "?"

    def many(self, axes: object, field: str) -> list[str]:
        return [condition.label for condition in self._found(axes, field)[0]]

    def matched(self, left: object, right: object) -> tuple[list[str], list[str]]:
        """Conditions of both sides, pair by pair: they agree in every axis that neither side names."""
        sides = [self._found(left, "left")[0], self._found(right, "right")[0]]
        if not all(sides):
            return ["?"], ["?"]
        named = {axis for axes in (left, right) for axis in self._wanted(axes)}
        rest = [axis for axis in self.axes if axis not in named]
        keyed = [{repr([c.values.get(axis) for axis in rest]): c.label for c in side} for side in sides]
        if any(len(keys) < len(side) for keys, side in zip(keyed, sides, strict=True)) or (
            keyed[0].keys() != keyed[1].keys() or set(keyed[0].values()) & set(keyed[1].values())
        ):
            what = f"{len(sides[0])} conditions on the left and {len(sides[1])} on the right are no pairs"
            self.tell(what, "name the same axes on both sides, with other values", allowed=", ".join(self.axes))
        return list(keyed[0].values()), [keyed[1].get(key, "?") for key in keyed[0]]

    def _along(self, axes: object, along: object) -> list[str]:
        held, said = self._found(axes, "where")
        if not held or not isinstance(along, str):
            return ["?"]
        if along not in self.axes:
            fix = nearest(along, self.axes) or f"choose from {', '.join(self.axes)}"
            self.tell(f"{along} is not an axis of the grid", fix, "along", ", ".join(self.axes))
            return ["?"]
        values = [condition.values[along] for condition in held]
        if len(held) < 2 or any(value in values[:index] for index, value in enumerate(values)):
            other = [axis for axis in self.axes if axis != along and axis not in self._wanted(axes)]
            fix = f"where = {{ {other[0]} = ... }}" if other else f"two values or more of {along}"
            self.tell(f"{len(held)} conditions with {said} are no steps along {along}", fix, "where")
        if all(isinstance(value, int | float) for value in values):
            held = sorted(held, key=lambda condition: condition.values[along])
        return [condition.label for condition in held]
