"""First figure of a report, the dots of all runs: its values, caption and text alternative."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.reports.display_limits import MAX_ROWS, select_first
from resnetlab.reports.figures.dots import drawn_rows
from resnetlab.reports.format import (
    capitalize_first,
    decimals,
    format_interval,
    format_pct,
    format_value,
    join_clauses,
    join_words,
)
from resnetlab.reports.plot_data import Dot, DotPlot, DotRow
from resnetlab.reports.study import reference_plots
from resnetlab.stats.intervals import ConditionSummary
from resnetlab.studies.claims import condition_labels
from resnetlab.studies.measure import Unit
from resnetlab.translation import tr, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def dot_plot(analysis: StudyAnalysis) -> DotPlot:
    """Return the figure of every planned run, by condition."""
    rows = tuple(
        _dot_row(analysis, label, summary) for label, summary in analysis.summaries.items()
    )
    low, high = value_scale(rows, analysis.study.measure.unit)
    hidden = all(row.chance_pct < low for row in rows)
    claimed = {label for claim in analysis.study.claims for label in condition_labels(claim)}
    drawn = select_first([row.label for row in rows], MAX_ROWS, claimed.__contains__)
    plot = DotPlot(
        "accuracy",
        capitalize_first(tr_word(analysis.study.measure.name)),
        _caption(analysis, hidden) + reference_plots.marks_caption(rows),
        _text_alternative(analysis, drawn),
        rows,
        low,
        high,
        analysis.study.measure.unit,
        "run" if analysis.study.imported else "seed",
        drawn,
    )
    note = _drawn_note(plot)
    return replace(plot, caption=plot.caption + note, alt=plot.alt + note)


def value_scale(rows: tuple[DotRow, ...], unit: Unit) -> tuple[float, float]:
    """Return the ends of the scale: all runs and, unless it is far away or unknown, chance."""
    drawn = [dot.value_pct for row in rows for dot in row.dots]
    values = [value for value in drawn if value is not None and not math.isnan(value)]
    if not values:
        return 0.0, 100.0
    values += [mark.value_pct for row in rows for mark in row.reference_marks]
    low, high = min(values), max(values)
    width = max(high - low, 1.0) if unit == "%" else (high - low or abs(low) or 1.0)
    # Intervals of few runs may be far wider than the runs. They are cut; the text has their ends.
    lows = [row.low_pct for row in rows if row.low_pct is not None]
    highs = [row.high_pct for row in rows if row.high_pct is not None]
    low, high = max(low - width, min([low, *lows])), min(high + width, max([high, *highs]))
    chance = min(row.chance_pct for row in rows)
    low = min(low, chance) if low - chance < 3 * width else low
    if unit != "%":
        pad = 0.05 * (high - low)
        return low - pad, high + pad
    pad = 0.05 * (high - low) + 0.1
    return max(-1.0, low - pad), min(101.0, high + pad)


def _dot_row(analysis: StudyAnalysis, label: str, summary: ConditionSummary) -> DotRow:
    dots = []
    for row in analysis.rows(label):
        value = summary.chance_pct if row.status == "diverged" else row.measured
        dots.append(Dot(row.seed, row.status, value))
    counts, unit = summary.counts, analysis.study.measure.unit
    digits = decimals(summary.interval_pct, unit)
    pending = (
        tr(", {running} to come", running=counts.running + counts.waiting)
        if not counts.is_complete
        else ""
    )
    mean_text = "" if summary.mean_pct is None else format_value(summary.mean_pct, digits, unit)
    if summary.interval_pct:
        mean_text += f" {format_interval(summary.interval_pct, digits)}"
    low, high = summary.interval_pct or (None, None)
    return DotRow(
        label=label,
        series_index=analysis.series_index(label),
        chance_pct=summary.chance_pct,
        dots=tuple(dots),
        mean_pct=summary.mean_pct,
        low_pct=low,
        high_pct=high,
        texts=(
            tr(
                "{trained}/{finished} trained{pending}",
                trained=counts.trained,
                finished=counts.ended,
                pending=pending,
            ),
            mean_text,
        ),
        reference_marks=reference_plots.reference_marks(analysis, label),
    )


def _caption(analysis: StudyAnalysis, chance_hidden: bool) -> str:
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


def _drawn_note(plot: DotPlot) -> str:
    """Return the sentences about what is not drawn, with a space before them; empty if all is."""
    drawn, text = drawn_rows(plot), ""
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


def _text_alternative(analysis: StudyAnalysis, drawn: Collection[str]) -> str:
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
    name = capitalize_first(tr_word(measure.name))
    return tr("{name} of every run by condition. ", name=name) + join_clauses(parts) + "."
