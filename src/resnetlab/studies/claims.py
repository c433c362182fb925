"""Claims: sentences as estimands that measurements can reproduce or contradict. Free of torch.

Owns the kinds of a `[[claim]]`, how its conditions are picked by their axes, what is refused before anything is run,
and how a claim and its runs become a question of `resnetlab.stats.verdict`. Judges nothing.

Every effect says how much better left is than right: points of accuracy, or for a loss or an error how much lower.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, assert_never

from resnetlab.codec import FieldError, PositiveAmount, decode, spec, tagged
from resnetlab.errors import InputError, Problem, nearest
from resnetlab.stats.estimate import WHOLE, Interval
from resnetlab.stats.outcome import Outcome, count
from resnetlab.stats.power import MOST_SEEDS, smallest_margin
from resnetlab.stats.verdict import GREATER, LESS, Arm, Fails, Means, Question, Region
from resnetlab.stats.verdict import Faster as Race
from resnetlab.studies.tables import flat

if TYPE_CHECKING:
    from resnetlab.studies.spec import Condition

Metric = Literal["top1", "error", "loss"]
"""What is compared on the test images: accuracy in percent, or error in percent or loss in nats, of which less is
better. A difference in error is one in accuracy; a percentage of it is not."""


@spec
class _Said:
    says: str
    source: str = ""


@spec
class Greater(_Said):
    """`left` is better than `right`."""

    kind: Literal["greater"] = "greater"
    left: str
    """Label of a condition; in a file, its axes: `{ model.depth = 56 }`."""
    right: str
    metric: Metric = "top1"
    paired: bool = False
    """Compare run by run of one seed: only where the two share their training, and not a seed alone."""


@spec
class About(_Said):
    """`left` is better than `right` by about `size`. Its direction is judged on a line of its own."""

    kind: Literal["about"] = "about"
    left: str
    right: str
    size: float
    """In points, or nats; negative where `right` is better."""
    margin: PositiveAmount | None = None
    """How far off it may be. None: half of the size, and at least 0.2."""
    expected_sd: PositiveAmount | None = None
    """Of a run, by which a margin that the seeds cannot reach is refused before anything is run."""
    metric: Metric = "top1"
    paired: bool = False

    def __post_init__(self) -> None:
        if self.size == 0 or not math.isfinite(self.size):
            raise FieldError("size", "not a difference", 'size = 2.5, or kind = "equal"')

    @property
    def allowed(self) -> float:
        """The margin, given or not."""
        return self.margin or max(abs(self.size) / 2, 0.2)


@spec
class Equal(_Said):
    """`left` and `right` differ by less than `margin`, either way (two one-sided tests)."""

    kind: Literal["equal"] = "equal"
    left: str
    right: str
    margin: PositiveAmount
    expected_sd: PositiveAmount | None = None
    metric: Metric = "top1"
    paired: bool = False

    @property
    def allowed(self) -> float:
        """The margin."""
        return self.margin


@spec
class FailsAndTrains(_Said):
    """`left` dies or diverges in most runs and `right` does not."""

    kind: Literal["fails-and-trains"] = "fails-and-trains"
    left: str
    right: str


@spec
class Average(_Said):
    """`left` is better than `right` on average over the conditions that each picks, pair by pair."""

    kind: Literal["average"] = "average"
    left: tuple[str, ...]
    right: tuple[str, ...]
    metric: Metric = "top1"


@spec
class Relative(_Said):
    """`left` is better than `right` by about `size` percent of it, on average over the pairs of conditions."""

    kind: Literal["relative"] = "relative"
    left: tuple[str, ...]
    right: tuple[str, ...]
    size: float
    """In percent: 28 for 28 % less error."""
    margin: PositiveAmount
    metric: Metric = "error"

    def __post_init__(self) -> None:
        if self.size == 0 or not math.isfinite(self.size):
            raise FieldError("size", "not a difference", "size = 28.0")


@spec
class Monotone(_Said):
    """The metric rises, or falls, with every step along an axis."""

    kind: Literal["monotone"] = "monotone"
    along: str
    """An axis of the grid; in a file, `where` fixes the others."""
    change: Literal["improves", "worsens"] = "improves"
    order: tuple[str, ...]
    """Labels along the axis."""
    metric: Metric = "top1"


@spec
class Best(_Said):
    """`left` is better than each rival."""

    kind: Literal["best"] = "best"
    left: str
    rivals: tuple[str, ...]
    """In a file, `among` picks them; all other conditions without it."""
    metric: Metric = "top1"


@spec
class Faster(_Said):
    """`left` reaches an accuracy in fewer epochs than `right`; a run that never does is behind all that do."""

    kind: Literal["faster"] = "faster"
    left: str
    right: str
    accuracy_pct: Annotated[PositiveAmount, "percent"]
    """On the validation images, or on the test images where both conditions record their curve."""

    def __post_init__(self) -> None:
        if self.accuracy_pct >= 100:
            raise FieldError("accuracy_pct", "not below 100 %", "accuracy_pct = 90.0")


Claim = Annotated[
    Greater | About | Equal | FailsAndTrains | Average | Relative | Monotone | Best | Faster, tagged("kind")
]
AnyClaim = Greater | About | Equal | FailsAndTrains | Average | Relative | Monotone | Best | Faster


def labels(claim: AnyClaim) -> tuple[str, ...]:
    """The conditions that a claim compares, in the order of its question's arms."""
    match claim:
        case Average() | Relative():
            return tuple(label for pair in zip(claim.left, claim.right, strict=True) for label in pair)
        case Monotone():
            return claim.order
        case Best():
            return (claim.left, *claim.rivals)
        case _:
            return (claim.left, claim.right)


def described(claim: AnyClaim) -> str:
    """What is compared, in a line: `residual 56 (A) above plain 56`."""
    match claim:
        case Greater():
            return f"{claim.left} above {claim.right}"
        case About():
            return f"{claim.left} above {claim.right} by {claim.size:g} ± {claim.allowed:g}"
        case Equal():
            return f"{claim.left} and {claim.right} within ± {claim.margin:g}"
        case FailsAndTrains():
            return f"{claim.left} fails, {claim.right} trains"
        case Average():
            return f"{', '.join(claim.left)} above {', '.join(claim.right)} on average"
        case Relative():
            return f"{', '.join(claim.left)} above {', '.join(claim.right)} by {claim.size:g} % ± {claim.margin:g}"
        case Monotone():
            return f"{', '.join(claim.order)}: {claim.change} along {claim.along}"
        case Best():
            return f"{claim.left} above {', '.join(claim.rivals)}"
        case Faster():
            return f"{claim.left} at {claim.accuracy_pct:g} % before {claim.right}"
        case _:
            assert_never(claim)


# From a file ----------------------------------------------------------------------------------------------------------

_ONE: dict[str, tuple[str, ...]] = {
    "greater": ("left", "right"), "about": ("left", "right"), "equal": ("left", "right"), "faster": ("left", "right"),
    "fails-and-trains": ("left", "right"), "best": ("left",),
}  # fmt: skip
_RESOLVED = {"monotone": "order", "best": "rivals"}
"""Fields that a file does not give: they follow from others."""


def parse_claims(
    tables: Iterable[dict[str, Any]], conditions: Sequence[Condition], seeds: int, where: str
) -> tuple[list[AnyClaim], tuple[Problem, ...]]:
    """The `[[claim]]` tables with their conditions looked up, and every mistake in them.

    Without conditions, which had mistakes of their own, only the tables' form is looked at.
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
            problems += _refusals(claim, conditions, seeds, where, picker.field)
            claims.append(claim)
    return claims, tuple(problems)


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
            self._tell("unknown field", "remove it", _RESOLVED[kind])
        whole = dict(table)
        for side in _ONE.get(kind, ()):
            if side in table:
                whole[side] = self._one(table[side], side)
        if kind in ("average", "relative") and "left" in table and "right" in table:
            whole["left"], whole["right"] = self._matched(table["left"], table["right"])
        if kind == "monotone":
            whole["order"] = self._along(whole.pop("where", {}), table.get("along"))
        if kind == "best":
            rivals = [label for label in self._many(whole.pop("among", {}), "among") if label != whole.get("left")]
            whole["rivals"] = rivals
            if not rivals and self.conditions and not self.problems:
                self._tell("no condition besides left", "pick two or more", "among")
        same = kind in _ONE and len(_ONE[kind]) == 2 and whole.get("left") == whole.get("right") != "?"
        if same and self.conditions and "left" in whole and not self.problems:
            self._tell("left and right are one condition", "compare two")
        return whole

    def _tell(self, what: str, fix: str, field: str = "", allowed: str = "", got: str = "") -> None:
        place = f"{self.field}.{field}" if field else self.field
        self.problems.append(Problem(self.where, what, fix, place, got=got, allowed=allowed))

    def _found(self, axes: object, field: str) -> tuple[list[Condition], str]:
        """The conditions with these values of the axes, and the axes as words; None found where that was told."""
        if not isinstance(axes, dict):
            self._tell("not a table", f"write it as [{field}] with its fields below", field, got=str(axes)[:60])
            return [], ""
        wanted = flat(axes)
        said = ", ".join(f"{axis} = {value}" for axis, value in wanted.items()) or "nothing"
        if not self.conditions:
            return [], ""
        known = ", ".join(self.axes)
        if unknown := [axis for axis in wanted if axis not in self.axes]:
            fix = nearest(unknown[0], self.axes) or (f"choose from {known}" if known else "add a [grid]")
            self._tell(f"{unknown[0]} is not an axis of the grid", fix, field, known)
            return [], ""
        held = [c for c in self.conditions if all(c.values.get(axis) == value for axis, value in wanted.items())]
        if not held:
            self._tell(f"no condition with {said}", "use values of the grid", field, known)
        return held, said

    def _one(self, axes: object, field: str) -> str:
        held, said = self._found(axes, field)
        if len(held) > 1:
            what, fix = f"{len(held)} conditions with {said}", "name one condition by its axes"
            self._tell(what, fix, field, ", ".join(self.axes))
        return held[0].label if len(held) == 1 else "?"

    def _many(self, axes: object, field: str) -> list[str]:
        return [condition.label for condition in self._found(axes, field)[0]]

    def _matched(self, left: object, right: object) -> tuple[list[str], list[str]]:
        """Conditions of both sides, pair by pair: they agree in every axis that neither side names."""
        sides = [self._found(left, "left")[0], self._found(right, "right")[0]]
        if not all(sides):
            return ["?"], ["?"]
        named = {axis for axes in (left, right) if isinstance(axes, dict) for axis in flat(axes)}
        rest = [axis for axis in self.axes if axis not in named]
        keyed = [{repr([c.values.get(axis) for axis in rest]): c.label for c in side} for side in sides]
        if any(len(keys) < len(side) for keys, side in zip(keyed, sides, strict=True)) or (
            keyed[0].keys() != keyed[1].keys() or set(keyed[0].values()) & set(keyed[1].values())
        ):
            what = f"{len(sides[0])} conditions on the left and {len(sides[1])} on the right are no pairs"
            self._tell(what, "name the same axes on both sides, with other values", allowed=", ".join(self.axes))
        return list(keyed[0].values()), [keyed[1].get(key, "?") for key in keyed[0]]

    def _along(self, axes: object, along: object) -> list[str]:
        held, said = self._found(axes, "where")
        if not held or not isinstance(along, str):
            return ["?"]
        if along not in self.axes:
            fix = nearest(along, self.axes) or f"choose from {', '.join(self.axes)}"
            self._tell(f"{along} is not an axis of the grid", fix, "along", ", ".join(self.axes))
            return ["?"]
        values = [condition.values[along] for condition in held]
        if len(held) < 2 or any(value in values[:index] for index, value in enumerate(values)):
            other = [
                axis for axis in self.axes if axis != along and axis not in flat(axes if isinstance(axes, dict) else {})
            ]
            fix = f"where = {{ {other[0]} = ... }}" if other else f"two values or more of {along}"
            self._tell(f"{len(held)} conditions with {said} are no steps along {along}", fix, "where")
        if all(isinstance(value, int | float) for value in values):
            held = sorted(held, key=lambda condition: condition.values[along])
        return [condition.label for condition in held]


def _refusals(claim: AnyClaim, conditions: Sequence[Condition], seeds: int, where: str, field: str) -> list[Problem]:
    """What a plan cannot answer, however its runs end."""
    found = []
    by_label = {condition.label: condition for condition in conditions}
    if isinstance(claim, About | Equal) and claim.expected_sd and not claim.paired:
        reach = _reach(seeds, claim.expected_sd)
        if claim.allowed < reach:
            enough = next((n for n in range(2, MOST_SEEDS + 1) if _reach(n, claim.expected_sd) <= claim.allowed), None)
            more = f"{enough} seeds" if enough else f"more than {MOST_SEEDS} seeds, which is not affordable"
            wider = f"margin = {math.ceil(100 * reach) / 100:g}, or " if math.isfinite(reach) else ""
            what = f"{seeds} seed{'s' * (seeds > 1)} cannot confirm ± {claim.allowed:g} at a standard deviation of "
            found.append(Problem(where, f"{what}{claim.expected_sd:g}", f"{wider}{more}", f"{field}.margin"))
    if (
        isinstance(claim, Greater | About | Equal)
        and claim.paired
        and not shared(by_label[claim.left], by_label[claim.right])
    ):
        what = "runs of left and right share nothing but a seed, which is not a pair"
        found.append(Problem(where, what, "remove it: Welch's test compares them", f"{field}.paired"))
    if isinstance(claim, Faster):
        followed = [by_label[label].data for label in (claim.left, claim.right)]
        if not all(data.test_curve for data in followed) and not all(data.validation for data in followed):
            what = "no split is followed over the epochs in both conditions"
            found.append(Problem(where, what, "data.validation = 0.1, or data.test_curve = true", field))
    return found


def _reach(seeds: int, sd: float) -> float:
    return smallest_margin(seeds, sd) if seeds > 1 else math.inf


def shared(left: Condition, right: Condition) -> bool:
    """Whether runs of one seed share their training whole, and only what is done with it differs."""
    plain = [(c.model, replace(c.data, test_curve=False), replace(c.recipe, choose="last")) for c in (left, right)]
    return plain[0] == plain[1]


def cautions(claims: Iterable[AnyClaim], seeds: int) -> tuple[str, ...]:
    """What a plan should say before anything is run: claims that its seeds may not decide."""
    said = []
    for claim in claims:
        least = {"faster": 4, "fails-and-trains": 3}.get(claim.kind, 2)
        if seeds < least:
            count = "one seed" if seeds == 1 else f"{seeds} seeds"
            said.append(f"{claim.says}: {count} cannot decide it, whatever they give; {least} can")
        elif isinstance(claim, About | Equal) and claim.expected_sd is None:
            said.append(f"{claim.says}: no expected_sd, so nothing says whether {seeds} seeds can confirm its margin")
    return tuple(said)


# To a question --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """A planned run as claims see it: its outcome and what it reached on the test images."""

    seed: int
    outcome: Outcome
    error_pct: float | None = None
    loss_nats: float | None = None
    curves: Mapping[str, tuple[tuple[float, float], ...]] | None = None
    """By split: epoch and accuracy in percent, in order."""

    def value(self, metric: Metric) -> float | None:
        """The metric, turned so that more is better."""
        if metric == "loss":
            return None if self.loss_nats is None else -self.loss_nats
        return None if self.error_pct is None else (100 if metric == "top1" else 0) - self.error_pct


@dataclass(frozen=True)
class Runs:
    """The planned runs of a condition, with what a guess would reach."""

    runs: tuple[Ran, ...]
    class_share: float
    """Accuracy of the best constant guess, 0 to 1."""
    classes: int
    epochs: float
    """That a run is given."""

    def arm(self, metric: Metric = "top1") -> Arm:
        """As the statistics see it. A converged run whose loss is not a number is a diverged one to a claim on loss."""
        lost = {run.seed for run in self.runs if run.outcome == "converged" and run.value(metric) is None}
        counts = count("diverged" if run.seed in lost else run.outcome for run in self.runs)
        held = [run.value(metric) for run in self.runs if run.outcome == "converged"]
        values = tuple(sorted(value for value in held if value is not None))
        match metric:
            case "top1":
                return Arm(counts, values, 100 * self.class_share, WHOLE)
            case "error":
                return Arm(counts, values, 100 * self.class_share - 100, Interval(-100.0, 0.0))
            case "loss":
                return Arm(counts, values, -math.log(self.classes), Interval(-math.inf, 0.0))

    def arrivals(self, accuracy_pct: float, split: str, within: float) -> tuple[float, ...]:
        """Epochs at which each run that is not missing first had that accuracy; inf where it never did."""
        return tuple(
            next(
                (epoch for epoch, reached in _curve(run, split) if reached >= accuracy_pct and epoch <= within),
                math.inf,
            )
            for run in self.runs
            if run.outcome in ("converged", "dead", "diverged")
        )


def _curve(run: Ran, split: str) -> tuple[tuple[float, float], ...]:
    return (run.curves or {}).get(split, ())


def question(claim: AnyClaim, runs: Mapping[str, Runs]) -> Question:
    """A claim in numbers; `runs` by condition's label."""
    match claim:
        case Greater():
            return _two(claim, runs, GREATER)
        case About():
            region = Region(claim.size - claim.allowed, claim.size + claim.allowed)
            return _two(claim, runs, region, GREATER if claim.size > 0 else LESS)
        case Equal():
            return _two(claim, runs, Region(-claim.margin, claim.margin))
        case FailsAndTrains():
            return Fails((runs[claim.left].arm(), runs[claim.right].arm()))
        case Average():
            arms = tuple(runs[label].arm(claim.metric) for label in labels(claim))
            return Means(arms, ((1 / len(claim.left), -1 / len(claim.left)) * len(claim.left),))
        case Relative():
            arms = tuple(runs[label].arm(claim.metric) for label in labels(claim))
            region = Region(claim.size - claim.margin, claim.size + claim.margin)
            return Means(arms, region=region, relative=True, direction=GREATER if claim.size > 0 else LESS)
        case Monotone():
            arms = tuple(runs[label].arm(claim.metric) for label in claim.order)
            sign = 1.0 if claim.change == "improves" else -1.0
            steps = range(len(arms) - 1)
            return Means(arms, tuple(_row(len(arms), {k: -sign, k + 1: sign}) for k in steps))
        case Best():
            arms = tuple(runs[label].arm(claim.metric) for label in labels(claim))
            return Means(arms, tuple(_row(len(arms), {0: 1.0, k: -1.0}) for k in range(1, len(arms))))
        case Faster():
            left, right = runs[claim.left], runs[claim.right]
            within, split = min(left.epochs, right.epochs), followed((left, right))
            times = [held.arrivals(claim.accuracy_pct, split, within) for held in (left, right)]
            return Race((left.arm(), right.arm()), (times[0], times[1]))
        case _:
            assert_never(claim)


def followed(runs: Iterable[Runs]) -> str:
    """The split whose curve a race is run on: the test images where every condition recorded them, else validation."""
    recorded = [{split for run in held.runs for split in run.curves or {}} for held in runs]
    return "test" if all("test" in splits or not splits for splits in recorded) else "validation"


def _two(
    claim: Greater | About | Equal, runs: Mapping[str, Runs], region: Region, direction: Region | None = None
) -> Means:
    left, right = runs[claim.left], runs[claim.right]
    pairs = None
    if claim.paired:
        values = [
            {run.seed: run.value(claim.metric) for run in held.runs if run.outcome == "converged"}
            for held in (left, right)
        ]
        both = [(values[0][seed], values[1].get(seed)) for seed in values[0]]
        pairs = tuple(a - b for a, b in both if a is not None and b is not None)
    return Means((left.arm(claim.metric), right.arm(claim.metric)), region=region, pairs=pairs, direction=direction)


def _row(length: int, weights: Mapping[int, float]) -> tuple[float, ...]:
    return tuple(weights.get(index, 0.0) for index in range(length))
