"""Comparison of published numbers with trained runs: badge, prediction interval and differences.

A badge is never a verdict. There is none, but a reason, if the number was measured on other data or
images, or if the protocol here is a reduced one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from resnetlab.reports.format import join_words, name_images
from resnetlab.reports.study.text import override_text
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval, mean, within_range
from resnetlab.stats.prediction import CompatibilityBadge, compare_with_reported
from resnetlab.studies.claims import ClaimSplit
from resnetlab.studies.parsing.references import flatten_condition
from resnetlab.studies.published.references import MatchedReference, Quantity
from resnetlab.translation import deferred, tr, tr_count, tr_recorded, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

TOP5: Quantity = "top-5 error"
_UNKNOWN_EPOCH = deferred("the last, or not described")


@dataclass(frozen=True)
class ReferenceComparison:
    """Comparison of a published number with trained runs: accuracy or top-5 error in %, or nats."""

    reference: MatchedReference
    measured: tuple[float, ...]
    badge: CompatibilityBadge | None
    interval: Interval | None
    """Prediction interval of the published number if nothing differs; None without a badge."""
    no_badge_reason: str
    """Reason that there is no badge."""
    differences: tuple[str, ...]
    is_plotted: bool
    """True if the number is of the same images, so that figures of them can contain it."""


def compare_references(analysis: StudyAnalysis) -> tuple[ReferenceComparison, ...]:
    """Compare every published number of the study with its runs, in the order of the conditions."""
    order = list(analysis.summaries)
    pairs = sorted(analysis.study.references, key=lambda pair: order.index(pair.condition))
    return tuple(_compare(analysis, pair) for pair in pairs)


def _compare(analysis: StudyAnalysis, reference: MatchedReference) -> ReferenceComparison:
    value = reference.value
    measured = _measured_values(analysis, reference)
    why = (
        tr_recorded(value.status)
        or not_measured_reason(analysis, reference)
        or _reduction(analysis, reference)
        or _no_interval_reason(analysis, reference, measured)
    )
    badge, interval = None, None
    if not why:
        source = value.as_reported_result()
        subset_error = _subset_error(analysis, reference, mean(measured))
        badge, interval, _ = compare_with_reported(
            measured, replace(source, half_width=source.half_width + subset_error)
        )
        possible = Interval(0.0, math.inf) if value.quantity == "loss" else ACCURACY_RANGE_PCT
        interval = within_range(interval, possible)
    drawn = not mismatch_reason(analysis, reference) and value.accuracy_pct is not None
    return ReferenceComparison(
        reference, measured, badge, interval, why, _differences(analysis, reference), drawn
    )


def _measured_values(analysis: StudyAnalysis, reference: MatchedReference) -> tuple[float, ...]:
    """Return the values of the trained runs on the split and at the epoch of a published number.

    They are losses in nats, top-5 errors in percent, or accuracies in percent.
    """
    value, measured = reference.value, []
    if value.quantity == "multiply-adds":
        return ()
    points = {(p.seed, p.split, p.epoch): p for p in analysis.points(reference.condition)}
    for row in analysis.rows(reference.condition):
        if row.status != "trained":
            continue
        if value.epoch:
            point = points.get((row.seed, value.split, value.epoch))
            error, loss, top5 = (
                (point.top1_error_pct, point.loss_nats, None) if point else (None, None, None)
            )
        else:
            error, loss, top5 = (
                getattr(row, f"{value.split}_{name}")
                for name in ("error_pct", "loss_nats", "top5_error_pct")
            )
        right = None if error is None else 100 - error
        measured.append({"loss": loss, TOP5: top5}.get(value.quantity, right))
    return tuple(number for number in measured if number is not None)


def _subset_error(analysis: StudyAnalysis, reference: MatchedReference, accuracy: float) -> float:
    """Return the sampling error of an accuracy in percent on a part of the train images.

    It is half the width of the 95 % interval of the accuracy on all train images; 0 for other
    numbers.
    """
    dataset = analysis.data(reference.condition)
    part, all_images = dataset.train_subset_images, dataset.train_images
    if reference.value.split != "train" or reference.value.accuracy_pct is None or not part:
        return 0.0
    variance = accuracy * (100 - accuracy) / part * (1 - part / all_images)
    return NormalDist().inv_cdf(0.975) * math.sqrt(variance)


def not_measured_reason(analysis: StudyAnalysis, reference: MatchedReference) -> str:
    """Return the reason why this quantity was not measured here; empty if it was."""
    value, published_data = reference.value, reference.protocol.data
    name = analysis.data(reference.condition).name
    rows = analysis.rows(reference.condition)
    top5_measured = any(getattr(row, f"{value.split}_top5_error_pct") is not None for row in rows)
    if value.quantity == "multiply-adds" or (
        value.quantity == TOP5 and analysis.counts.is_complete and not top5_measured
    ):
        return tr("{quantity}, which is not measured here", quantity=tr_word(value.quantity))
    if published_data and name not in (published_data, f"{published_data}-rebuilt"):
        return tr(
            "measured on {published_data}, here on {name}", published_data=published_data, name=name
        )
    recorded = {(p.split, p.epoch) for p in analysis.points(reference.condition)}
    read_at = (value.split, value.epoch)
    if value.epoch and analysis.counts.is_complete and read_at not in recorded:
        where = tr(
            "the {images} at epoch {epoch:g}",
            images=name_images(value.split),
            epoch=value.epoch,
        )
        return tr("measured on {where}, which are not recorded here", where=where)
    return ""


def mismatch_reason(
    analysis: StudyAnalysis, reference: MatchedReference, split: ClaimSplit = "test"
) -> str:
    """Return the reason why a number is not comparable with a split at the end; "" if it is."""
    value = reference.value
    if value.split != split:
        there, here = (name_images(name) for name in (value.split, split))
        return tr("measured on the {there}, here on the {here}", there=there, here=here)
    return not_measured_reason(analysis, reference) or (
        tr("read at epoch {epoch:g}, before the end", epoch=value.epoch) if value.epoch else ""
    )


def _no_interval_reason(
    analysis: StudyAnalysis, reference: MatchedReference, measured: tuple[float, ...]
) -> str:
    if not analysis.counts.is_complete:
        return tr("waiting for the last run")
    if len(measured) < 2:
        return tr("{runs}: no interval", runs=tr_count(len(measured), "trained run"))
    lower_best = reference.value.quantity in ("loss", TOP5) and reference.value.statistic == "best"
    return (
        tr(
            "a best {quantity}: there is no interval for it",
            quantity=tr_word(reference.value.quantity),
        )
        if lower_best
        else ""
    )


def _differences(analysis: StudyAnalysis, reference: MatchedReference) -> tuple[str, ...]:
    """Return the differences from the source's protocol."""
    differences = [
        *_image_differences(analysis, reference),
        *_length_differences(analysis, reference),
        *_setting_differences(analysis, reference),
    ]
    select_best = analysis.study.condition(reference.condition).recipe.select == "best"
    selected_on = reference.value.selected_on
    if selected_on != ("validation" if select_best else ""):
        published_text = tr(_UNKNOWN_EPOCH)
        if selected_on:
            published_text = tr("by the {images}", images=name_images(selected_on))
        differences.append(
            tr(
                "the epoch: {here_text} (published {published_text})",
                here_text=tr("by validation") if select_best else tr("the last"),
                published_text=published_text,
            )
        )
    counts = analysis.summaries[reference.condition].counts
    if counts.trained < counts.ended:
        differences.append(tr("trained runs only"))
    return tuple(differences)


def _image_differences(analysis: StudyAnalysis, reference: MatchedReference) -> Iterator[str]:
    dataset, data = analysis.data(reference.condition), reference.protocol.data
    if dataset.name == f"{data}-rebuilt":
        yield tr("data {name} (published {data})", name=dataset.name, data=data)
    if reference.value.split == "train" and dataset.train_subset_images:
        yield tr(
            "measured on {train_subset_images:,} fixed train images, which widens the interval "
            "(published: all train images)",
            train_subset_images=dataset.train_subset_images,
        )


def _length_differences(analysis: StudyAnalysis, reference: MatchedReference) -> Iterator[str]:
    """Yield the differences in steps, epochs and the number of train images."""
    recipe = analysis.study.condition(reference.condition).recipe
    protocol = reference.protocol
    train_images = analysis.data(reference.condition).train_images
    lengths = (
        (recipe.total_steps(train_images), protocol.steps, "step"),
        (recipe.num_epochs(train_images), protocol.epochs, "epoch"),
        (train_images, protocol.train_images, "train image"),
    )
    for here, published, unit in lengths:
        if published is not None and here != published:
            yield tr(
                "{here} (published {published:,.10g})",
                here=tr_count(here, unit),
                published=published,
            )


def _setting_differences(analysis: StudyAnalysis, reference: MatchedReference) -> Iterator[str]:
    """Yield the fields of the condition whose values are not those of the source."""
    fields = flatten_condition(analysis.study.condition(reference.condition))
    for key, value in reference.protocol.fields.items():
        if key in fields and fields[key] != value:
            yield tr(
                "{name} {here_text} (published {value})",
                name=key.split(".", 1)[-1],
                here_text=_setting_text(fields[key]),
                value=_setting_text(value),
            )


def _reduction(analysis: StudyAnalysis, reference: MatchedReference) -> str:
    """Return the reason that the protocol here is a reduced one; empty if it is not."""
    condition = analysis.study.condition(reference.condition)
    dataset, protocol = analysis.data(reference.condition), reference.protocol
    recipe, reductions = condition.recipe, []
    if protocol.steps is not None:
        batch_size = int(protocol.fields.get("recipe.batch_size", recipe.batch_size))
        images = recipe.total_steps(dataset.train_images) * recipe.batch_size
        if images < protocol.steps * batch_size:
            reductions.append(tr("fewer steps than the published one"))
    if protocol.epochs is not None and recipe.num_epochs(dataset.train_images) < protocol.epochs:
        reductions.append(tr("fewer epochs than the published one"))
    if protocol.train_images is not None and dataset.train_images < protocol.train_images:
        reductions.append(tr("fewer train images than the published one"))
    if condition.data.train_images is not None:
        reductions.append(
            tr("trained on only {train_images:,} images", train_images=condition.data.train_images)
        )
    # The data may be the same, only in another folder: then `--data` is no change of the protocol.
    same_data = dataset.name in (protocol.data, f"{protocol.data}-rebuilt")
    unchanged = {"seeds", "data"} if same_data else {"seeds"}
    changed = [
        override_text(item)
        for item in analysis.study.overrides
        if item.key not in unchanged and not item.key.startswith("grid.")
    ]
    reductions += (
        [tr("changed by the command: {changed}", changed=join_words(changed))] if changed else []
    )
    return (
        tr("reduced protocol: {reductions}", reductions=join_words(reductions))
        if reductions
        else ""
    )


def _setting_text(value: object) -> str:
    return (tr("on") if value else tr("off")) if isinstance(value, bool) else f"{value}"
