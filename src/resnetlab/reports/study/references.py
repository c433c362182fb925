"""Tables of published numbers beside the measured ones, and their protocols and sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.reports.document import Cell, Detail, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    capitalize_first,
    decimals,
    format_interval,
    format_number,
    format_pct,
    join_clauses,
    join_words,
    name_images,
)
from resnetlab.reports.study.reference_comparison import (
    TOP5,
    ReferenceComparison,
    compare_references,
)
from resnetlab.stats.intervals import mean
from resnetlab.studies.claims import (
    claim_split,
    condition_labels,
)
from resnetlab.studies.parsing.references import has_fields
from resnetlab.studies.published.bibliography import bibliography, cited_works
from resnetlab.studies.published.references import MatchedReference, Quantity, ReferenceValue
from resnetlab.translation import localize_number, tr, tr_recorded, tr_study, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


MIN_SHARED_ROWS = 4
"""Number of rows from which a clause that they share stands in the note of the table."""


def reference_table(analysis: StudyAnalysis) -> Table | None:
    """Return the table of published and measured numbers, or None if the study names none."""
    comparisons = compare_references(analysis)
    if not comparisons:
        return None
    shared, reasons = _shared_differences(comparisons), _shared_reasons(comparisons)
    no_difference = tr("none that the source describes")
    if shared:
        no_difference = tr("those of every row")
    rows = []
    for item in comparisons:
        reason = reasons.get(item.no_badge_reason, item.no_badge_reason)
        remaining = tuple(text for text in item.differences if text not in shared)
        shortened = replace(item, no_badge_reason=reason, differences=remaining)
        rows.append(_row(shortened, citation_link(analysis, item.reference.source), no_difference))
    columns = (
        *text_columns("Condition", "Source"),
        *number_columns("Published", "Measured", "95 % prediction interval"),
        *text_columns("Badge", "Differences"),
    )
    note = tr(
        "Test accuracy unless another quantity is named. A published number is compatible if "
        "it lies in the 95 % prediction interval: the interval for such a number if nothing "
        "differed, from n trained runs here and m published runs, rounding included (Spence "
        "and Stanley 2016). If the source gives independent runs, Welch's t decides. A badge "
        "is not a verdict, and a reduced protocol has no badge. Settings that the source does "
        "not describe are not compared."
    )
    if shared:
        note += " " + tr(
            "Differences of every row: {differences}.", differences=join_clauses(shared)
        )
    for number, reason in enumerate(reasons, 1):
        note += " " + tr("No badge, reason {number}: {reason}.", number=number, reason=reason)
    return Table("beside", columns, tuple(rows), note, "scroll")


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
    return {
        text: tr("reason {number}, below the table", number=number)
        for number, text in enumerate(shared, 1)
    }


def unmatched_table(analysis: StudyAnalysis) -> Table | None:
    """Return the table of published numbers without a measured one, or None if there are none."""
    rows = []
    for pair in analysis.study.unmatched_references:
        here = (
            tr("not a condition of this report")
            if pair.value.model
            else tr("resnetlab does not run it")
        )
        source = Cell(pair.title, "", "", *citation_link(analysis, pair.source))
        only = Cell(tr("Published only"), here, "published only")
        rows.append((Cell(pair.value.label), source, _reference_cell(pair), only))
    columns = (
        *text_columns("Number", "Source"),
        *number_columns("Published"),
        *text_columns("Here"),
    )
    note = tr(
        "Numbers of the sources above without a measurement in this study. They are listed, "
        "not tested."
    )
    return Table("alone", columns, tuple(rows), note) if rows else None


def protocol_details(analysis: StudyAnalysis) -> tuple[Detail, ...]:
    """Return each source's protocol, differences that no field describes, and errata."""
    sources: dict[str, list[MatchedReference]] = {}
    for pair in analysis.study.references:
        sources.setdefault(pair.title, []).append(pair)
    details = []
    for title, pairs in sources.items():
        labeled = tuple(dict.fromkeys(pair.condition for pair in pairs))
        details.append(
            Detail(
                tr("{title}, the protocol", title=capitalize_first(title)),
                tr_study(pairs[0].protocol.summary),
            )
        )
        for item in pairs[0].protocol.differences:
            affected = [
                label
                for label in labeled
                if not item.unless or not has_fields(analysis.study.condition(label), item.unless)
            ]
            where = f" ({join_words(affected)})" if len(affected) < len(labeled) else ""
            text = tr(
                "published: {reference}; here: {here}{where}",
                reference=tr_study(item.reference),
                here=tr_study(item.here),
                where=where,
            )
            details += [Detail(tr("Difference"), text)] if affected else []
        details += [Detail(tr("Erratum"), tr_study(text)) for text in pairs[0].errata]
    return tuple(details)


def citation_link(analysis: StudyAnalysis, source: str) -> tuple[str, str]:
    """Return the first citation of a source that has an address, and the address.

    Both are empty if no work of the source has one. A work that the bibliography does not have is
    known by its name before the first comma, if the study has published numbers of it.
    """
    pairs = (*analysis.study.references, *analysis.study.unmatched_references)
    urls = {pair.title.partition(",")[0]: pair.url for pair in pairs if pair.url}
    for key, text in cited_works(source):
        url = bibliography()[key].url if key else urls.get(text.partition(",")[0], "")
        if url:
            return text, url
    return "", ""


def source_list(analysis: StudyAnalysis) -> tuple[Detail, ...]:
    """Return the works that the study cites, each with title, authors, year and address."""
    study = analysis.study
    claimed = (*study.claims, *study.ladder, *study.distances, *study.ensembles)
    sources = [part.source for part in (*claimed, *study.references, *study.unmatched_references)]
    keys = dict.fromkeys(key for source in sources for key, _ in cited_works(source) if key)
    works = [bibliography()[key] for key in keys]
    return tuple(Detail(capitalize_first(work.short), work.full, work.url) for work in works)


def _row(
    comparison: ReferenceComparison, link: tuple[str, str], no_difference: str
) -> tuple[Cell, ...]:
    value, measured = comparison.reference.value, comparison.measured
    digits = 3 if value.quantity == "loss" else decimals(comparison.interval)
    measured_cell = Cell(DASH, "n = 0")
    if measured:
        where = "; " + name_images(value.split) if value.split != "test" else ""
        when = "; " + tr("after epoch {epoch:g}", epoch=value.epoch) if value.epoch else ""
        text = _value_text(mean(measured), digits, value.quantity)
        measured_cell = Cell(text, f"n = {len(measured)}{where}{when}")
    word = Cell(tr("None"), comparison.no_badge_reason)
    if comparison.badge:
        word = Cell(capitalize_first(tr_word(comparison.badge)), "", comparison.badge)
    return (
        Cell(comparison.reference.condition),
        Cell(comparison.reference.title, value.label, "", *link),
        _reference_cell(comparison.reference),
        measured_cell,
        Cell(format_interval(comparison.interval, digits)),
        word,
        Cell(join_clauses(comparison.differences) or no_difference),
    )


def _reference_cell(reference: MatchedReference) -> Cell:
    """Return a published value with the decimals of its source, and a note on its runs."""
    value = reference.value
    if value.value is None:
        return Cell(DASH, tr_recorded(value.status))
    notes = [
        tr(
            "{statistic} of {num_runs}",
            statistic=tr_word(value.statistic),
            num_runs=value.num_runs,
        )
        if value.num_runs > 1
        else "m = 1"
    ]
    printed = localize_number(f"{value.value:.{value.decimals}f}")
    if value.sd is not None:
        notes.append(
            tr("sd {sd}", sd=format_number(value.sd, 3 if value.quantity == "loss" else 2))
        )
    if not value.independent:
        notes.append(tr("runs not independent"))
    if value.quantity == "error":
        notes.append(tr("error {printed} in the source", printed=printed))
    notes += [text for text in (_measured_where(value),) if text]
    if value.parameters:
        notes.append(tr("{parameters:,.4g} M parameters", parameters=value.parameters / 1000000.0))
    if value.note:
        notes.append(tr_study(value.note))
    if value.accuracy_pct is not None:
        return Cell(format_pct(value.accuracy_pct, value.decimals), join_clauses(notes))
    units = {"loss": "nats", TOP5: f"% {tr_word(TOP5)}", "multiply-adds": "x 10^9"}
    return Cell(f"{printed} {units[value.quantity]}", join_clauses(notes))


def _measured_where(value: ReferenceValue) -> str:
    """Return the split and the epoch of a value that is not of the test images at the end: `train
    images, after epoch 9`.
    """
    split = name_images(value.split) if value.split != "test" else ""
    epoch = tr("after epoch {epoch:g}", epoch=value.epoch) if value.epoch else ""
    return ", ".join(filter(None, (split, epoch)))


def quantity_note(analysis: StudyAnalysis) -> str:
    """Say where the numbers of a source are of other images than the claims about its conditions.

    It is empty if they are of the same ones.
    """
    by_title: dict[str, list[MatchedReference]] = {}
    for pair in analysis.study.references:
        if pair.value.value is not None:
            by_title.setdefault(pair.title, []).append(pair)
    sentences = []
    for title, pairs in by_title.items():
        labels = {pair.condition for pair in pairs}
        splits = {
            claim_split(claim)
            for claim in analysis.study.claims
            if labels & set(condition_labels(claim))
        }
        if splits and splits.isdisjoint(pair.value.split for pair in pairs):
            where = dict.fromkeys(
                _measured_where(pair.value) or name_images("test") for pair in pairs
            )
            compared = join_words([name_images(split) for split in sorted(splits)])
            sentences.append(
                tr(
                    "The numbers of {title} are of other images ({images}) than these claims "
                    "({compared}, at the end).",
                    title=title,
                    images=join_words(list(where)),
                    compared=compared,
                )
            )
    return " ".join(sentences)


def _value_text(value: float, digits: int, quantity: Quantity) -> str:
    units = {"loss": "nats", TOP5: f"% {tr_word(TOP5)}"}
    if quantity in units:
        return f"{format_number(value, digits)} {units[quantity]}"
    return format_pct(value, digits)
