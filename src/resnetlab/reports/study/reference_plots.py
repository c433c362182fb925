"""Published numbers in the figures: marks of values, curves, and effects of claims."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.reports.format import name_images
from resnetlab.reports.plot_data import DotRow, ReferenceEffect, ReferenceMark
from resnetlab.reports.study.reference_comparison import (
    TOP5,
    compare_references,
    mismatch_reason,
    not_measured_reason,
)
from resnetlab.stats.intervals import mean
from resnetlab.studies.claims import (
    About,
    AnyClaim,
    Average,
    Better,
    Equivalent,
    Relative,
    condition_labels,
)
from resnetlab.studies.published.references import MatchedReference
from resnetlab.translation import tr

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def reference_marks(analysis: StudyAnalysis, label: str) -> tuple[ReferenceMark, ...]:
    """Return the marks of published numbers for a condition in the first figure."""
    result = []
    for item in compare_references(analysis):
        value = item.reference.value.accuracy_pct
        if item.reference.condition == label and item.is_plotted and value is not None:
            low, high = item.interval or (None, None)
            result.append(ReferenceMark(value, low, high))
    return tuple(result)


def published_curve(
    analysis: StudyAnalysis, label: str, quantity: str
) -> dict[float, float] | None:
    """Return the mean of a source's runs by epoch for a condition's test curve; None without one.

    Args:
        analysis: Analysis of the study.
        label: Label of the condition.
        quantity: `loss` in nats, or `error` or `accuracy` in percent.
    """
    for reference in analysis.study.references:
        value = reference.value
        of_quantity = (value.quantity == "loss") == (quantity == "loss")
        if reference.condition != label or not value.run_curves or not of_quantity:
            continue
        if not not_measured_reason(analysis, reference):
            mean_curve = dict(enumerate(value.mean_curve, 1))
            if quantity == "error":
                return {float(epoch): 100 - y for epoch, y in mean_curve.items()}
            return {float(epoch): y for epoch, y in mean_curve.items()}
    return None


def reference_effects(analysis: StudyAnalysis, claim: AnyClaim) -> tuple[ReferenceEffect, ...]:
    """Return the effects of a claim in published numbers.

    An effect needs a number for each condition of the claim, all with the same quantity and
    protocol.
    """
    if not isinstance(claim, Better | About | Equivalent | Average | Relative):
        return ()
    labels = condition_labels(claim)
    effects = []
    for references in _comparable_numbers(analysis, claim):
        by_source: dict[str, list[MatchedReference]] = {}
        for reference in references:
            by_source.setdefault(reference.title, []).append(reference)
        of_one_source = [_one_per_condition(group, labels) for group in by_source.values()]
        complete = [group for group in of_one_source if group]
        # Sources complete one another only if none of them has all the numbers.
        for group in complete or [_one_per_condition(references, labels)]:
            if group:
                sources = dict.fromkeys(_effect_source(reference) for reference in group)
                effects.append(ReferenceEffect(_reference_effect(claim, group), tuple(sources)))
    return tuple(effects)


def _one_per_condition(
    references: list[MatchedReference], labels: tuple[str, ...]
) -> list[MatchedReference]:
    """Return the first reference of each condition; empty if a condition has none."""
    first: dict[str, MatchedReference] = {}
    for reference in references:
        first.setdefault(reference.condition, reference)
    if not first.keys() >= set(labels):
        return []
    return [first[label] for label in labels]


def _effect_source(reference: MatchedReference) -> str:
    """Return the title of a number's source, with the reason that it is no printed last value."""
    value = reference.value
    selected = (
        tr("best epoch by its {images}", images=name_images(value.selected_on))
        if value.selected_on
        else ""
    )
    approximate = tr("approximate") if value.half_width else ""
    return ", ".join(filter(None, (reference.title, selected, approximate)))


def _comparable_numbers(
    analysis: StudyAnalysis, claim: Better | About | Equivalent | Average | Relative
) -> Iterable[list[MatchedReference]]:
    """Return the numbers of the claim's conditions, grouped by protocol and choice of the epoch."""
    groups: dict[tuple[str, str, bool], list[MatchedReference]] = {}
    for pair in analysis.study.references:
        value = pair.value
        if (
            pair.condition in condition_labels(claim)
            and value.value is not None
            and value.quantity != TOP5
            and (value.quantity == "loss") == (claim.metric == "loss")
            and not mismatch_reason(analysis, pair, claim.split)
        ):
            best = value.num_runs > 1 and value.statistic == "best"
            key = (repr(replace(pair.protocol, summary="")), value.selected_on, best)
            groups.setdefault(key, []).append(pair)
    return groups.values()


def _reference_effect(
    claim: Better | About | Equivalent | Average | Relative, references: list[MatchedReference]
) -> float:
    """Return the advantage of left over right, in points or nats, or in percent of right."""
    values = []
    for pair in references:
        value = pair.value.as_reported_result().value
        values.append({"loss": -value, "error": value - 100}.get(claim.metric, value))
    sides = list(zip(values[::2], values[1::2], strict=True))
    if isinstance(claim, Relative):
        return mean([100 * (left - right) / abs(right) for left, right in sides])
    return mean([left - right for left, right in sides])


def marks_caption(rows: tuple[DotRow, ...]) -> str:
    """Return the explanation of the diamonds for a caption, or empty text if there is none."""
    marks = [mark for row in rows for mark in row.reference_marks]
    if not marks:
        return ""
    text = " " + tr("Diamond: a published number")
    if any(mark.low_pct is not None for mark in marks):
        text += tr(", its line the 95 % prediction interval")
    if any(mark.low_pct is None for mark in marks):
        text += tr("; without a line there is no badge, and the table gives the reason")
    return text + "."
