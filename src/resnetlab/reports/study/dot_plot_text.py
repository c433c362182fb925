"""Caption and text alternative of the first figure, the dots of all runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnetlab.reports.format import (
    capitalize_first,
    decimals,
    format_interval,
    format_pct,
    format_value,
    join_clauses,
    join_words,
)
from resnetlab.translation import tr, tr_finished

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def caption(analysis: StudyAnalysis, chance_hidden: bool) -> str:
    """Return the caption of the first figure; `chance_hidden`: chance is outside its scale."""
    text = tr("Each planned run. Bar: mean of the trained runs; line: its 95 % t-interval")
    if imported := analysis.study.imported:
        corrected = tr(", corrected for folds") if imported.folds else ""
        return f"{text}{corrected}{_edge_note(analysis)}."
    chances = sorted({round(summary.chance_pct, 1) for summary in analysis.summaries.values()})
    chance_text = tr(
        "chance, the share of the most frequent class, is {chance}",
        chance=join_words([format_pct(chance) for chance in chances]),
    )
    chance_text += tr(", outside the scale") if chance_hidden else ""
    extra = tr("; a diverged run is drawn at chance") if analysis.counts.diverged else ""
    extra += _edge_note(analysis)
    return tr("{runs}; {chance}{more}.", runs=text, chance=chance_text, more=extra)


def _edge_note(analysis: StudyAnalysis) -> str:
    edge = analysis.counts.out_of_memory + analysis.counts.missing
    if analysis.study.measure.chance is None and analysis.study.imported:
        edge += analysis.counts.diverged
    return tr("; runs without a value are drawn at the left edge") if edge else ""


def text_alternative(analysis: StudyAnalysis) -> str:
    """Describe the first figure for its text alternative."""
    parts, measure = [], analysis.study.measure
    for label, summary in analysis.summaries.items():
        digits = decimals(summary.interval_pct, measure.unit)
        reached = tr("no mean")
        if summary.mean_pct is not None:
            mean = format_value(summary.mean_pct, digits, measure.unit)
            reached = tr("mean {mean}", mean=mean)
            if summary.interval_pct:
                reached += f" {format_interval(summary.interval_pct, digits)}"
        counts = summary.counts
        parts.append(
            tr(
                "{label}: {reached}, {trained} of {planned} trained",
                label=label,
                reached=reached,
                trained=counts.trained,
                planned=counts.planned,
            )
        )
    name = capitalize_first(tr_finished(measure.name))
    return tr("{name} of every run by condition. ", name=name) + join_clauses(parts) + "."
