"""Comparison of published with measured numbers: both values, differences of the protocol, and a
badge.

A badge is never a verdict. There is none, but a reason, if the number was measured on other data or
images, or if the protocol here is a reduced one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from resnetlab.reports.document import (
    Cell,
    Column,
    DotRow,
    Fact,
    ReferenceEffect,
    ReferenceMark,
    Table,
)
from resnetlab.reports.format import (
    DASH,
    capitalize_first,
    decimals,
    format_count,
    format_interval,
    format_number,
    format_pct,
    join_words,
)
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval, mean, within_range
from resnetlab.stats.prediction import CompatibilityBadge, compare_with_reported
from resnetlab.studies.bibliography import bibliography, cited_works
from resnetlab.studies.claims import (
    About,
    AnyClaim,
    Average,
    ClaimSplit,
    Equal,
    Greater,
    Relative,
    condition_labels,
)
from resnetlab.studies.parsing.references import flatten_condition, has_fields
from resnetlab.studies.references import MatchedReference, Quantity

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


TOP5: Quantity = "top-5 error"
MIN_SHARED_ROWS = 4
"""Number of rows from which a clause that they share stands in the note of the table."""
_UNKNOWN_EPOCH = "the last, or not described"


@dataclass(frozen=True)
class ReferenceComparison:
    """Comparison of a published number with trained runs: accuracies or top-5 errors in percent,
    or nats.
    """

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


def table(analysis: StudyAnalysis) -> Table | None:
    """Return the table of published and measured numbers, or None if the study names none."""
    comparisons = compare_references(analysis)
    shared, reasons = _shared_differences(comparisons), _shared_reasons(comparisons)
    rows = tuple(
        _row(
            replace(
                item,
                no_badge_reason=reasons.get(item.no_badge_reason, item.no_badge_reason),
                differences=tuple(x for x in item.differences if x not in shared),
            ),
            citation_link(analysis, item.reference.source),
            "those of every row" if shared else "none that the source describes",
        )
        for item in comparisons
    )
    if not rows:
        return None
    columns = (
        Column("Condition", numeric=False),
        Column("Source", numeric=False),
        Column("Published"),
        Column("Measured"),
        Column("95 % prediction interval"),
        Column("Badge", numeric=False),
        Column("Differences", numeric=False),
    )
    note = (
        "Test accuracy unless another quantity is named. A published number is compatible if it "
        "lies in the 95 % prediction interval: the interval for such a number if nothing differed, "
        "from n trained runs here and m published runs, rounding included (Spence and Stanley "
        "2016). If the source gives independent runs, Welch's t decides. A badge is not a verdict, "
        "and a reduced protocol has no badge. Settings that the source does not describe are not "
        "compared."
    )
    if shared:
        note += f" Differences of every row: {'; '.join(shared)}."
    for number, reason in enumerate(reasons, 1):
        note += f" No badge, reason {number}: {reason}."
    return Table("beside", columns, rows, note, "scroll")


def _shared_differences(comparisons: Sequence[ReferenceComparison]) -> tuple[str, ...]:
    """Return the differences that all of many rows have; they stand in the note of the table."""
    if len(comparisons) < MIN_SHARED_ROWS:
        return ()
    first, *others = (item.differences for item in comparisons)
    return tuple(text for text in first if all(text in other for other in others))


def _shared_reasons(comparisons: Sequence[ReferenceComparison]) -> dict[str, str]:
    """Return the reasons that many rows have, each with the short words for the rows."""
    counts = Counter(item.no_badge_reason for item in comparisons if item.no_badge_reason)
    shared = [text for text, n in counts.items() if n >= MIN_SHARED_ROWS and len(text) > 40]
    return {text: f"reason {number}, below the table" for number, text in enumerate(shared, 1)}


def unmatched_table(analysis: StudyAnalysis) -> Table | None:
    """Return the table of published numbers without a measured one, or None if there are none."""
    rows = tuple(
        (
            Cell(pair.value.label),
            Cell(pair.title, "", "", *citation_link(analysis, pair.source)),
            _reference_cell(pair),
            Cell(
                "Published only",
                "not a condition of this study"
                if pair.value.model
                else "resnetlab does not run it",
                "published only",
            ),
        )
        for pair in analysis.study.unmatched_references
    )
    columns = (
        Column("Number", numeric=False),
        Column("Source", numeric=False),
        Column("Published"),
        Column("Here", numeric=False),
    )
    note = (
        "Numbers of the sources above without a measurement in this study. They are listed, not "
        "tested."
    )
    return Table("alone", columns, rows, note) if rows else None


def protocol_facts(analysis: StudyAnalysis) -> tuple[Fact, ...]:
    """Return the protocol of each source, its differences that no field of a condition describes,
    and its errata.
    """
    sources: dict[str, list[MatchedReference]] = {}
    for pair in analysis.study.references:
        sources.setdefault(pair.title, []).append(pair)
    facts = []
    for title, pairs in sources.items():
        labeled = tuple(dict.fromkeys(pair.condition for pair in pairs))
        facts.append(Fact(f"{capitalize_first(title)}, the protocol", pairs[0].protocol.summary))
        for item in pairs[0].protocol.differences:
            affected = [
                label
                for label in labeled
                if not item.unless or not has_fields(analysis.study.condition(label), item.unless)
            ]
            where = f" ({join_words(affected)})" if len(affected) < len(labeled) else ""
            if affected:
                facts.append(
                    Fact("Difference", f"published: {item.reference}; here: {item.here}{where}")
                )
        facts += [Fact("Erratum", text) for text in pairs[0].errata]
    return tuple(facts)


def citation_link(analysis: StudyAnalysis, source: str) -> tuple[str, str]:
    """Return the first citation of a source that has an address, and the address.

    Both are empty if no work of the source has one. A work that the bibliography does not have is
    known by its name before the first comma, if the study has published numbers of it.
    """
    pairs = (*analysis.study.references, *analysis.study.unmatched_references)
    own = {pair.title.partition(",")[0]: pair.url for pair in pairs if pair.url}
    for key, text in cited_works(source):
        url = bibliography()[key].url if key else own.get(text.partition(",")[0], "")
        if url:
            return text, url
    return "", ""


def source_list(analysis: StudyAnalysis) -> tuple[Fact, ...]:
    """Return the works that the study cites, each with title, authors, year and address."""
    study = analysis.study
    claimed = (*study.claims, *study.ladder, *study.distances, *study.ensembles)
    sources = [part.source for part in (*claimed, *study.references, *study.unmatched_references)]
    keys = dict.fromkeys(key for source in sources for key, _ in cited_works(source) if key)
    works = [bibliography()[key] for key in keys]
    return tuple(Fact(capitalize_first(work.short), work.full, work.url) for work in works)


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
        if not _not_measured_reason(analysis, reference):
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
    if not isinstance(claim, Greater | About | Equal | Average | Relative):
        return ()
    groups: dict[tuple[str, ...], list[MatchedReference]] = {}
    for pair in analysis.study.references:
        value = pair.value
        kind = "loss" if value.quantity == "loss" else "top1"
        comparable = (
            (kind == "loss") == (claim.metric == "loss")
            and value.quantity != TOP5
            and not _mismatch_reason(analysis, pair, claim.split)
        )
        if comparable and value.value is not None and pair.condition in condition_labels(claim):
            best = value.num_runs > 1 and value.statistic == "best"
            key = (
                repr(replace(pair.protocol, summary="")),
                value.selected_on,
                "best" if best else "",
            )
            groups.setdefault(key, []).append(pair)
    result = []
    for pairs in groups.values():
        complete = [
            title
            for title in dict.fromkeys(pair.title for pair in pairs)
            if _covers(pairs, claim, title)
        ]
        for title in complete or [""]:
            candidates = [pair for pair in pairs if pair.title == title or not title]
            first = [
                next((pair for pair in candidates if pair.condition == label), None)
                for label in condition_labels(claim)
            ]
            chosen = [pair for pair in first if pair is not None]
            if len(chosen) == len(first):
                titles = dict.fromkeys(pair.title for pair in pairs if pair in chosen)
                result.append(ReferenceEffect(_reference_effect(claim, chosen), tuple(titles)))
    return tuple(result)


def _covers(references: list[MatchedReference], claim: AnyClaim, title: str) -> bool:
    return {pair.condition for pair in references if pair.title == title} >= set(
        condition_labels(claim)
    )


def _reference_effect(
    claim: Greater | About | Equal | Average | Relative, references: list[MatchedReference]
) -> float:
    """Return the advantage of left over right, in points or nats, or in percent of right."""
    values = []
    for pair in references:
        value = pair.value.as_reported_result().value
        values.append(
            -value if claim.metric == "loss" else value - (100 if claim.metric == "error" else 0)
        )
    sides = list(zip(values[::2], values[1::2], strict=True))
    return mean(
        [100 * (a - b) / abs(b) if isinstance(claim, Relative) else a - b for a, b in sides]
    )


def marks_caption(rows: tuple[DotRow, ...]) -> str:
    """Return the explanation of the diamonds for a caption, or empty text if there is none."""
    marks = [mark for row in rows for mark in row.reference_marks]
    if not marks:
        return ""
    without_interval = any(mark.low_pct is None for mark in marks)
    intervals = any(mark.low_pct is not None for mark in marks)
    text = " Diamond: a published number"
    text += ", its line the 95 % prediction interval" if intervals else ""
    return text + (
        "; without a line there is no badge, and the table gives the reason."
        if without_interval
        else "."
    )


def _compare(analysis: StudyAnalysis, reference: MatchedReference) -> ReferenceComparison:
    value = reference.value
    measured = _measured_values(analysis, reference)
    why = (
        value.status
        or _not_measured_reason(analysis, reference)
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
    drawn = not _mismatch_reason(analysis, reference) and value.accuracy_pct is not None
    return ReferenceComparison(
        reference, measured, badge, interval, why, _differences(analysis, reference), drawn
    )


def _measured_values(analysis: StudyAnalysis, reference: MatchedReference) -> tuple[float, ...]:
    """Return the values of the trained runs on the split and at the epoch of a published number.

    They are losses in nats, top-5 errors in percent, or accuracies in percent.
    """
    value, measured = reference.value, []
    points = {
        (p.seed, p.split, p.epoch): p
        for p in analysis.study_data.curve_points
        if p.condition == reference.condition
    }
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
    """Return the sampling error of an accuracy in percent that was measured on a part of the train
    images.

    It is half the width of the 95 % interval of the accuracy on all train images; 0 for other
    numbers.
    """
    facts = analysis.data(reference.condition)
    part, all_images = facts.train_subset_images, facts.train_images
    if reference.value.split != "train" or reference.value.accuracy_pct is None or not part:
        return 0.0
    return NormalDist().inv_cdf(0.975) * math.sqrt(
        accuracy * (100 - accuracy) / part * (1 - part / all_images)
    )


def _not_measured_reason(analysis: StudyAnalysis, reference: MatchedReference) -> str:
    """Return the reason why this quantity was not measured here; empty if it was."""
    value, name, published_data = (
        reference.value,
        analysis.data(reference.condition).name,
        reference.protocol.data,
    )
    rows = analysis.rows(reference.condition)
    top5_measured = any(getattr(row, f"{value.split}_top5_error_pct") is not None for row in rows)
    if value.quantity == "multiply-adds" or (
        value.quantity == TOP5 and analysis.counts.complete and not top5_measured
    ):
        return f"{value.quantity}, which is not measured here"
    if published_data and name not in (published_data, f"{published_data}-rebuilt"):
        return f"measured on {published_data}, here on {name}"
    at = f" at epoch {value.epoch:g}" if value.epoch else ""
    recorded = {
        p.split
        for p in analysis.study_data.curve_points
        if p.condition == reference.condition and p.epoch == value.epoch
    }
    if value.epoch and analysis.counts.complete and value.split not in recorded:
        return f"measured on the {value.split} images{at}, which are not recorded here"
    return ""


def _mismatch_reason(
    analysis: StudyAnalysis, reference: MatchedReference, split: ClaimSplit = "test"
) -> str:
    """Return the reason that the number is not comparable with a split at the end of training;
    empty if it is.
    """
    value = reference.value
    if value.split != split:
        return f"measured on the {value.split} images, here on the {split} images"
    return _not_measured_reason(analysis, reference) or (
        f"read at epoch {value.epoch:g}, before the end" if value.epoch else ""
    )


def _no_interval_reason(
    analysis: StudyAnalysis, reference: MatchedReference, measured: tuple[float, ...]
) -> str:
    if not analysis.counts.complete:
        return "waiting for the last run"
    if len(measured) < 2:
        return f"{format_count(len(measured), 'trained run')}: no interval"
    lower_best = reference.value.quantity in ("loss", TOP5) and reference.value.statistic == "best"
    return f"a best {reference.value.quantity}: there is no interval for it" if lower_best else ""


def _differences(analysis: StudyAnalysis, reference: MatchedReference) -> tuple[str, ...]:
    """Return the differences from the source's protocol."""
    condition = analysis.study.condition(reference.condition)
    facts, protocol = analysis.data(reference.condition), reference.protocol
    recipe, differences = condition.recipe, []
    if facts.name == f"{protocol.data}-rebuilt":
        differences.append(f"data {facts.name} (published {protocol.data})")
    if reference.value.split == "train" and facts.train_subset_images:
        differences.append(
            f"{facts.train_subset_images:,} of the train images, which widens the interval "
            "(published: all)"
        )
    lengths = (
        (recipe.total_steps(facts.train_images), protocol.steps, "step"),
        (recipe.num_epochs(facts.train_images), protocol.epochs, "epoch"),
        (facts.train_images, protocol.train_images, "train image"),
    )
    for here, published, unit in lengths:
        if published is not None and here != published:
            differences.append(f"{format_count(here, unit)} (published {published:,.10g})")
    fields = flatten_condition(condition)
    for key, value in protocol.fields.items():
        if key in fields and fields[key] != value:
            name, here_text = key.split(".", 1)[-1], _setting_text(fields[key])
            differences.append(f"{name} {here_text} (published {_setting_text(value)})")
    selected_on = reference.value.selected_on
    if selected_on != ("validation" if recipe.select == "best" else ""):
        published_text = f"by the {selected_on} images" if selected_on else _UNKNOWN_EPOCH
        here_text = "by validation" if recipe.select == "best" else "the last"
        differences.append(f"the epoch: {here_text} (published {published_text})")
    counts = analysis.summaries[reference.condition].counts
    if counts.trained < counts.finished:
        differences.append("trained runs only")
    return tuple(differences)


def _reduction(analysis: StudyAnalysis, reference: MatchedReference) -> str:
    """Return the reason that the protocol here is a reduced one; empty if it is not."""
    condition = analysis.study.condition(reference.condition)
    facts, protocol = analysis.data(reference.condition), reference.protocol
    recipe, reductions = condition.recipe, []
    if protocol.steps is not None:
        batch_size = int(protocol.fields.get("recipe.batch_size", recipe.batch_size))
        images = recipe.total_steps(facts.train_images) * recipe.batch_size
        if images < protocol.steps * batch_size:
            reductions.append("fewer steps than the published one")
    if protocol.epochs is not None and recipe.num_epochs(facts.train_images) < protocol.epochs:
        reductions.append("fewer epochs than the published one")
    if protocol.train_images is not None and facts.train_images < protocol.train_images:
        reductions.append("fewer train images than the published one")
    if condition.data.train_images is not None:
        reductions.append(f"trained on only {condition.data.train_images:,} images")
    # The data may be the same, only in another folder: then `--data` is no change of the protocol.
    same = ("data = ",) if facts.name in (protocol.data, f"{protocol.data}-rebuilt") else ()
    unchanged = ("seeds = ", "grid.", *same)
    changed = [item for item in analysis.study.overrides if not item.startswith(unchanged)]
    reductions += [f"changed by the command: {join_words(changed)}"] if changed else []
    return f"reduced protocol: {join_words(reductions)}" if reductions else ""


def _setting_text(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"


def _row(
    comparison: ReferenceComparison, link: tuple[str, str], no_difference: str
) -> tuple[Cell, ...]:
    value, measured = comparison.reference.value, comparison.measured
    digits = 3 if value.quantity == "loss" else decimals(comparison.interval)
    measured_cell = Cell(DASH, "n = 0")
    if measured:
        where = f"; {value.split} images" if value.split != "test" else ""
        when = f"; after epoch {value.epoch:g}" if value.epoch else ""
        measured_cell = Cell(
            _value_text(mean(measured), digits, value.quantity), f"n = {len(measured)}{where}{when}"
        )
    word = (
        Cell(capitalize_first(comparison.badge), "", comparison.badge)
        if comparison.badge
        else Cell("None", comparison.no_badge_reason)
    )
    return (
        Cell(comparison.reference.condition),
        Cell(comparison.reference.title, value.label, "", *link),
        _reference_cell(comparison.reference),
        measured_cell,
        Cell(format_interval(comparison.interval, digits)),
        word,
        Cell("; ".join(comparison.differences) or no_difference),
    )


def _reference_cell(reference: MatchedReference) -> Cell:
    """Return a published value with the decimals of its source, and a note on its runs."""
    value = reference.value
    if value.value is None:
        return Cell(DASH, value.status)
    notes = [f"{value.statistic} of {value.num_runs}" if value.num_runs > 1 else "m = 1"]
    notes += (
        [f"sd {format_number(value.sd, 3 if value.quantity == 'loss' else 2)}"]
        if value.sd is not None
        else []
    )
    notes += [] if value.independent else ["runs not independent"]
    notes += (
        [f"{value.quantity} {value.value:.{value.decimals}f} in the source"]
        if value.quantity == "error"
        else []
    )
    notes += [f"{value.parameters / 1e6:,.4g} M parameters"] if value.parameters else []
    notes += [value.note] if value.note else []
    accuracy = value.accuracy_pct
    if accuracy is not None:
        return Cell(format_pct(accuracy, value.decimals), "; ".join(notes))
    unit = {"loss": "nats", "top-5 error": "% top-5 error", "multiply-adds": "x 10^9"}[
        value.quantity
    ]
    return Cell(f"{value.value:.{value.decimals}f} {unit}", "; ".join(notes))


def _value_text(value: float, digits: int, quantity: Quantity) -> str:
    if quantity == "loss":
        return f"{format_number(value, digits)} nats"
    return (
        f"{format_number(value, digits)} % {TOP5}"
        if quantity == TOP5
        else format_pct(value, digits)
    )
