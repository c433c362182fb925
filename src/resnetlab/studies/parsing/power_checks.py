"""Checks before a run: claims that a plan cannot decide, and claims that it may not decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from resnetlab.errors import Problem
from resnetlab.messages import format_count
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.stats.intervals import mean
from resnetlab.stats.power import MAX_SEEDS, minimum_confirmable_margin
from resnetlab.studies.claims import (
    About,
    AnyClaim,
    Better,
    Equivalent,
    Faster,
    Relative,
    condition_labels,
)

if TYPE_CHECKING:
    from resnetlab.data.config import DataConfig
    from resnetlab.models.configs import ModelConfig
    from resnetlab.studies.published.references import MatchedReference, ReferenceValue
    from resnetlab.studies.study import Condition

ClaimWithMargin = About | Equivalent | Relative


def check_claim(
    claim: AnyClaim,
    conditions: Sequence[Condition],
    seeds: int,
    references: Sequence[MatchedReference],
    where: str,
    field: str,
) -> list[Problem]:
    """Return a problem for each part of a claim that no result of the plan can decide."""
    problems: list[Problem] = []
    by_label = {condition.label: condition for condition in conditions}
    if isinstance(claim, ClaimWithMargin):
        problems += _margin_problems(claim, seeds, references, where, f"{field}.margin")
    if isinstance(claim, Better | About | Equivalent):
        left, right = by_label[claim.left], by_label[claim.right]
        problems += _pairing_problems(claim.paired, left, right, where, f"{field}.paired")
    if isinstance(claim, Faster):
        data = [by_label[claim.left].data, by_label[claim.right].data]
        has_curves = all(item.test_curve for item in data) or all(item.validation for item in data)
        if not has_curves:
            message = "no split is evaluated at each epoch in both conditions"
            fix = "data.validation = 0.1, or data.test_curve = true"
            problems.append(Problem(where, message, fix, field))
    return problems


def _margin_problems(
    claim: ClaimWithMargin,
    seeds: int,
    references: Sequence[MatchedReference],
    where: str,
    field: str,
) -> Iterator[Problem]:
    """Yield a problem if the seeds are too few to confirm the margin of a claim."""
    run_variance = _run_variance(claim, references)
    if run_variance is None:
        return
    smallest_margin = _smallest_margin(seeds, run_variance)
    if claim.effective_margin >= smallest_margin:
        return
    fixes = f"more than {MAX_SEEDS} seeds"
    for enough in range(2, MAX_SEEDS + 1):
        if _smallest_margin(enough, run_variance) <= claim.effective_margin:
            fixes = f"{enough} seeds"
            break
    if math.isfinite(smallest_margin):
        fixes = f"margin = {math.ceil(100 * smallest_margin) / 100:g}, or {fixes}"
    if not claim.expected_sd:
        fixes += ", or an expected_sd of your own"
    message = (
        f"{format_count(seeds, 'seed')} cannot confirm ± {claim.effective_margin:g} at a "
        f"standard deviation of {run_variance.origin}"
    )
    yield Problem(where, message, fixes, field)


def _pairing_problems(
    is_paired: bool, left: Condition, right: Condition, where: str, field: str
) -> Iterator[Problem]:
    """Yield a problem if a claim pairs independent runs, or does not pair dependent ones."""
    if is_paired and not share_training(left, right):
        message = "runs of left and right share only a seed, so they are not pairs"
        yield Problem(where, message, "remove it: Welch's test compares them", field)
    in_two_modes = left.evaluation_mode != right.evaluation_mode
    if not is_paired and in_two_modes and share_training(left, right):
        message = "left and right are the same runs in two modes of evaluation, so they are pairs"
        yield Problem(where, message, "paired = true", field)


class _RunVariance(NamedTuple):
    """Variance of a run of each arm, for `minimum_confirmable_margin`, and the origin as text."""

    variances: tuple[float, ...]
    origin: str


def _smallest_margin(seeds: int, run_variance: _RunVariance) -> float:
    return minimum_confirmable_margin(seeds, run_variance.variances) if seeds > 1 else math.inf


def _run_variance(
    claim: ClaimWithMargin, references: Sequence[MatchedReference]
) -> _RunVariance | None:
    """Return the variance from expected_sd or published numbers; None without, and for pairs."""
    if not isinstance(claim, Relative) and claim.paired:
        return None
    weights = [1.0] * len(condition_labels(claim))
    # R = a / b has the variance (s_a^2 + r^2 s_b^2) / b^2, and k of them are averaged.
    if isinstance(claim, Relative):
        ratio = 1 + claim.size / 100 * (1 if claim.metric == "top1" else -1)
        weights = [1 / len(claim.left), ratio / len(claim.left)] * len(claim.left)
    if claim.expected_sd:
        unit = " %" if isinstance(claim, Relative) else ""
        sds, origin = [claim.expected_sd] * len(weights), f"{claim.expected_sd:g}{unit}"
    else:
        sds, origin = _reference_sds(claim, references)
    if sds:
        return _RunVariance(
            tuple((w * sd) ** 2 for w, sd in zip(weights, sds, strict=True)), origin
        )
    return None


def _reference_sds(
    claim: ClaimWithMargin, references: Sequence[MatchedReference]
) -> tuple[list[float], str]:
    """Return a standard deviation for each arm, in the margin's unit, and their origin as text.

    It is that of the first published number of the arm that has one, else the mean over the other
    arms.
    """
    labels = condition_labels(claim)
    comparable = [reference for reference in references if _is_comparable(claim, reference.value)]
    sd_by_label: dict[str, float] = {}
    origins = []
    for label in dict.fromkeys(labels):
        for reference in comparable:
            if reference.condition == label and reference.value.run_sd:
                sd_by_label[label] = reference.value.run_sd
                origins.append(f"{reference.value.run_sd:.2g} ({label}: {reference.title})")
                break
    if not sd_by_label:
        return [], ""
    default_sd = mean(list(sd_by_label.values()))
    sds = [sd_by_label.get(label, default_sd) for label in labels]
    if isinstance(claim, Relative):
        divisors = []  # the published values of the right conditions
        for label in claim.right:
            values = [_value_in_metric(claim, r.value) for r in comparable if r.condition == label]
            divisor = next(filter(None, values), None)
            if divisor is None:
                return [], ""
            divisors += [divisor, divisor]
        sds = [100 * sd / divisor for sd, divisor in zip(sds, divisors, strict=True)]
    return sds, " and ".join(origins)


def _is_comparable(claim: ClaimWithMargin, value: ReferenceValue) -> bool:
    """Return True if a published value has the claim's metric and split."""
    quantities = ("loss",) if claim.metric == "loss" else ("accuracy", "error")
    return value.quantity in quantities and value.split == claim.split


def _value_in_metric(claim: ClaimWithMargin, value: ReferenceValue) -> float | None:
    """Return a published value in the claim's metric."""
    accuracy = value.accuracy_pct
    if accuracy is None:
        return value.value
    return accuracy if claim.metric == "top1" else 100 - accuracy


def share_training(left: Condition, right: Condition) -> bool:
    """Return True if runs of one seed share their training and differ in the evaluation."""

    def plain(c: Condition) -> tuple[ModelConfig, DataConfig, AnyRecipe, object]:
        data = replace(c.data, test_curve=False, curve_images=None)
        return c.model, data, c.recipe.training, c.numerics

    return plain(left) == plain(right)


def plan_warnings(
    claims: Iterable[AnyClaim], seeds: int, references: Sequence[MatchedReference] = ()
) -> tuple[str, ...]:
    """Return a note for each claim that the seeds of a plan may not decide."""
    notes = []
    for claim in claims:
        min_seeds = {"faster": 4, "fails-and-trains": 3}.get(claim.kind, 2)
        if seeds < min_seeds:
            count = format_count(seeds, "seed")
            notes.append(f"{claim.statement}: {count} cannot decide it; {min_seeds} can")
        elif (
            isinstance(claim, ClaimWithMargin)
            and not claim.expected_sd
            and not _run_variance(claim, references)
        ):
            notes.append(
                f"{claim.statement}: without an expected_sd or a published standard deviation it "
                f"is unknown if {seeds} seeds can confirm its margin"
            )
    return tuple(notes)
