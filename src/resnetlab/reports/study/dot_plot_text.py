"""Caption and text alternative of the first figure, the dots of all runs."""

from __future__ import annotations

from collections.abc import Collection
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
    from resnetlab.reports.document import DotPlot


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


def drawn_note(plot: DotPlot) -> str:
    """Return the sentences about what is not drawn, with a space before them; empty if all is."""
    drawn, text = plot.drawn_rows, ""
    if len(drawn) < len(plot.rows):
        text += " " + tr(
            "Drawn: {drawn} of {conditions:,} conditions, those of claims first; results.csv has "
            "the runs of all, and the table of conditions has their means.",
            drawn=len(drawn),
            conditions=len(plot.rows),
        )
    every = {row.label: row for row in plot.rows}
    if any(len(row.dots) < len(every[row.label].dots) for row in drawn):
        text += " " + tr(
            "Drawn: at most {dots} runs of a condition, evenly spaced from the lowest to the "
            "highest value; results.csv has all runs.",
            dots=max(len(row.dots) for row in drawn),
        )
    return text


def _edge_note(analysis: StudyAnalysis) -> str:
    edge = analysis.counts.out_of_memory + analysis.counts.missing
    if analysis.study.measure.chance is None and analysis.study.imported:
        edge += analysis.counts.diverged
    return tr("; runs without a value are drawn at the left edge") if edge else ""


def text_alternative(analysis: StudyAnalysis, drawn: Collection[str]) -> str:
    """Describe the first figure for its text alternative; `drawn` are its conditions."""
    parts, measure = [], analysis.study.measure
    for label in drawn:
        summary = analysis.summaries[label]
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
