"""Checks before a run: claims that a plan cannot decide, and claims that it may not decide.

Free of torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from resnetlab.errors import Problem
from resnetlab.recipes.finetune import AnyRecipe, Tuning
from resnetlab.stats.intervals import mean
from resnetlab.stats.power import MOST_SEEDS, smallest_margin
from resnetlab.studies.claims import About, AnyClaim, Equal, Faster, Greater, Relative, labels

if TYPE_CHECKING:
    from resnetlab.data.config import Data
    from resnetlab.models.configs import Model
    from resnetlab.studies.references import Beside, Value
    from resnetlab.studies.study import Condition

WithMargin = About | Equal | Relative


def refusals(
    claim: AnyClaim,
    conditions: Sequence[Condition],
    seeds: int,
    published: Sequence[Beside],
    where: str,
    field: str,
) -> list[Problem]:
    """Return a problem for each part of a claim that the plan cannot decide, whatever its runs
    give.
    """
    problems = []
    by_label = {condition.label: condition for condition in conditions}
    if isinstance(claim, WithMargin) and (spread := _spread(claim, published)):
        reach = _reach(seeds, spread)
        if claim.allowed < reach:
            enough = next(
                (n for n in range(2, MOST_SEEDS + 1) if _reach(n, spread) <= claim.allowed), None
            )
            more = (
                f"{enough} seeds"
                if enough
                else f"more than {MOST_SEEDS} seeds, which is not affordable"
            )
            wider = (
                f"margin = {math.ceil(100 * reach) / 100:g}, or " if math.isfinite(reach) else ""
            )
            own = "" if claim.expected_sd else ", or an expected_sd of your own"
            what = (
                f"{seeds} seed{'s' * (seeds > 1)} cannot confirm ± {claim.allowed:g} at a "
                "standard deviation of "
            )
            problems.append(
                Problem(where, what + spread.origin, f"{wider}{more}{own}", f"{field}.margin")
            )
    if (
        isinstance(claim, Greater | About | Equal)
        and claim.paired
        and not shared(by_label[claim.left], by_label[claim.right])
    ):
        what = "runs of left and right share nothing but a seed, which is not a pair"
        problems.append(
            Problem(where, what, "remove it: Welch's test compares them", f"{field}.paired")
        )
    if isinstance(claim, Faster):
        followed = [by_label[label].data for label in (claim.left, claim.right)]
        if not all(data.test_curve for data in followed) and not all(
            data.validation for data in followed
        ):
            what = "no split is followed over the epochs in both conditions"
            problems.append(
                Problem(where, what, "data.validation = 0.1, or data.test_curve = true", field)
            )
    return problems


class _Spread(NamedTuple):
    """Variances of a run of each arm, as `smallest_margin` takes them, and their origin as text."""

    variances: tuple[float, ...]
    origin: str


def _reach(seeds: int, spread: _Spread) -> float:
    return smallest_margin(seeds, spread.variances) if seeds > 1 else math.inf


def _spread(claim: WithMargin, published: Sequence[Beside]) -> _Spread | None:
    """Return the spread from the claim's expected_sd or the published numbers; None without both,
    and for pairs.
    """
    if not isinstance(claim, Relative) and claim.paired:
        return None
    weights = [1.0] * len(labels(claim))
    if isinstance(
        claim, Relative
    ):  # r = a / b has the variance (s_a^2 + r^2 s_b^2) / b^2, and k of them are averaged
        ratio = 1 + claim.size / 100 * (1 if claim.metric == "top1" else -1)
        weights = [1 / len(claim.left), ratio / len(claim.left)] * len(claim.left)
    if claim.expected_sd:
        unit = " %" if isinstance(claim, Relative) else ""
        sds, origin = [claim.expected_sd] * len(weights), f"{claim.expected_sd:g}{unit}"
    else:
        sds, origin = _published_sds(claim, published)
    return (
        _Spread(tuple((w * sd) ** 2 for w, sd in zip(weights, sds, strict=True)), origin)
        if sds
        else None
    )


def _published_sds(claim: WithMargin, published: Sequence[Beside]) -> tuple[list[float], str]:
    """Return a standard deviation for each arm, in the margin's unit, and their origin as text.

    It is that of the first published number of the arm that has one, else the mean over the other
    arms.
    """
    comparable = [b for b in published if _alike(claim, b.value)]
    by_label = {label: [b for b in comparable if b.condition == label] for label in labels(claim)}
    first = {
        label: next((b for b in values if b.value.spread), None)
        for label, values in by_label.items()
    }
    known = {label: reference for label, reference in first.items() if reference}
    if not known:
        return [], ""
    default_sd = mean([reference.value.spread or 0.0 for reference in known.values()])
    sds = [
        (reference.value.spread if (reference := first[label]) else None) or default_sd
        for label in labels(claim)
    ]
    if isinstance(claim, Relative):
        levels = [
            next(filter(None, (_level(claim, b.value) for b in by_label[right])), None)
            for right in claim.right
        ]
        if not all(levels):
            return [], ""
        sds = [100 * sd / (levels[index // 2] or math.inf) for index, sd in enumerate(sds)]
    return sds, " and ".join(
        f"{reference.value.spread:.2g} ({label}: {reference.title})"
        for label, reference in known.items()
    )


def _alike(claim: WithMargin, value: Value) -> bool:
    """Return whether a published value has the claim's metric and split."""
    quantities = ("loss",) if claim.metric == "loss" else ("accuracy", "error")
    return value.quantity in quantities and value.split == claim.split


def _level(claim: WithMargin, value: Value) -> float | None:
    """Return a published value in the claim's metric."""
    accuracy = value.accuracy_pct
    return (
        value.value if accuracy is None else accuracy if claim.metric == "top1" else 100 - accuracy
    )


def shared(left: Condition, right: Condition) -> bool:
    """Return whether runs of one seed share their whole training, so that only its evaluation
    differs.
    """

    def plain(c: Condition) -> tuple[Model, Data, AnyRecipe]:
        recipe: AnyRecipe = c.recipe
        recipe = (
            replace(recipe, crops=1)
            if isinstance(recipe, Tuning)
            else replace(recipe, choose="last")
        )
        return c.model, replace(c.data, test_curve=False), recipe

    return plain(left) == plain(right)


def cautions(
    claims: Iterable[AnyClaim], seeds: int, published: Sequence[Beside] = ()
) -> tuple[str, ...]:
    """Return a note for each claim that the seeds of a plan may not decide."""
    notes = []
    for claim in claims:
        min_seeds = {"faster": 4, "fails-and-trains": 3}.get(claim.kind, 2)
        if seeds < min_seeds:
            count = "one seed" if seeds == 1 else f"{seeds} seeds"
            notes.append(
                f"{claim.says}: {count} cannot decide it, whatever they give; {min_seeds} can"
            )
        elif (
            isinstance(claim, WithMargin)
            and not claim.expected_sd
            and not _spread(claim, published)
        ):
            notes.append(
                f"{claim.says}: neither an expected_sd nor a published one, so nothing says "
                f"whether {seeds} seeds can "
                "confirm its margin"
            )
    return tuple(notes)
