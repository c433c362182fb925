"""Section of a report on a ladder: the accuracy of each rung and its difference to its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnetlab.analysis.run_statistics import num_last_epochs, spreads_of_last_epochs
from resnetlab.reports.document import Cell, LadderSection, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    capitalize_first,
    decimals,
    format_interval,
    format_number,
    format_p_value,
    format_pct,
    format_signed,
    join_clauses,
)
from resnetlab.reports.plot_data import LadderPlot, RungRow
from resnetlab.reports.study.text import verdict_badge
from resnetlab.stats.contrasts import Effect, accuracy_difference, welch
from resnetlab.stats.intervals import mean
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies.study import Rung
from resnetlab.translation import tr, tr_count, tr_study

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def ladder_section(analysis: StudyAnalysis) -> LadderSection | None:
    """Return the table and figure of a ladder, or None if the study has no ladder."""
    return LadderSection(_table(analysis), _plot(analysis)) if analysis.study.ladder else None


def _verdicts(analysis: StudyAnalysis) -> dict[str, Verdict]:
    """Return the verdict of each rung with a claim. These claims come first in the study."""
    claiming = [rung.condition for rung in analysis.study.ladder if rung.claim]
    return dict(zip(claiming, analysis.verdicts, strict=False))


def _effect(analysis: StudyAnalysis, rung: Rung) -> Effect | None:
    """Return the test accuracy of a rung minus its parent's, in points; None until the end."""
    if not rung.parent or not analysis.counts.is_complete:
        return None
    arms = [analysis.summaries[label].trained_pct for label in (rung.condition, rung.parent)]
    return accuracy_difference(*arms) if min(map(len, arms)) >= 2 else None


def _train_pct(analysis: StudyAnalysis, label: str) -> float | None:
    """Return the mean accuracy of the trained runs on the fixed train images."""
    rows = [
        row
        for row in analysis.rows(label)
        if row.status == "trained" and row.train_error_pct is not None
    ]
    if rows:
        return mean([100 - row.train_error_pct for row in rows if row.train_error_pct is not None])
    return None


def _table(analysis: StudyAnalysis) -> Table:
    columns = (
        *text_columns("Rung"),
        *number_columns("Test", "Train", "Difference"),
        *text_columns("Verdict", "Explanation"),
        *number_columns("Spread of the last epochs"),
    )
    verdicts = _verdicts(analysis)
    rows = tuple(
        _row(analysis, rung, verdicts.get(rung.condition)) for rung in analysis.study.ladder
    )
    note = tr(
        "Mean accuracies of trained runs, and the difference to the test accuracy of the "
        "parent in points. Brackets: 95 % intervals, by Student's t for a mean and by Welch's "
        "t for a difference. A rung adds to the rung before it. A side rung has the same "
        "parent as the rung that it replaces, and no rung adds to it. A rung with an expected "
        "result is a claim, corrected with all claims of the study (Holm 1979); the others are "
        "exploratory, and their intervals are not corrected. Train accuracy: a fixed part of "
        "the train images in evaluation mode; its excess over the test accuracy is "
        "overfitting. Spread of the last epochs: the standard deviation of a run's accuracy "
        "over its last {epochs} epochs, in points, mean of the trained runs; below "
        "it, the difference to the parent. It measures stability, and a curve that still rises "
        "spreads as well. Explanation: why the rung should help, by the study file; these runs "
        "do not test it.",
        epochs=num_last_epochs(analysis),
    )
    return Table("ladder", columns, rows, note)


def _row(analysis: StudyAnalysis, rung: Rung, verdict: Verdict | None) -> tuple[Cell, ...]:
    summary, effect = analysis.summaries[rung.condition], _effect(analysis, rung)
    counts, digits = summary.counts, decimals(summary.interval_pct)
    train = _train_pct(analysis, rung.condition)
    side = ""
    if rung.instead_of:
        side = tr(
            "side rung: instead of {instead_of}, added to {parent}",
            instead_of=rung.instead_of,
            parent=rung.parent,
        )
    changes = join_clauses(part for part in (side, *rung.adds) if part)
    notes = []
    if summary.interval_pct:
        notes.append(format_interval(summary.interval_pct, digits))
    if counts.trained < counts.ended:
        notes.append(
            tr("{trained} of {finished} trained", trained=counts.trained, finished=counts.ended)
        )
    gap_to_test = None if train is None or summary.mean_pct is None else train - summary.mean_pct
    difference, interval = Cell(DASH), None
    if effect is not None:
        interval = effect.interval(verdict.confidence if verdict else 0.95)
        difference = Cell(
            format_signed(effect.estimate, decimals(interval)),
            format_interval(interval, decimals(interval)),
        )
    return (
        Cell(rung.condition, changes or tr("model, data and recipe of the study")),
        Cell(format_pct(summary.mean_pct, digits), join_clauses(notes)),
        Cell(
            format_pct(train),
            "" if gap_to_test is None else tr("{gap} to test", gap=format_signed(gap_to_test)),
        ),
        difference,
        _verdict_cell(rung, verdict),
        Cell(_explanation(rung)),
        _spread_cell(analysis, rung),
    )


def _verdict_cell(rung: Rung, verdict: Verdict | None) -> Cell:
    """Return the verdict with its p-value and the expected result, if the rung has a claim."""
    if verdict is None:
        return Cell(tr("no claim") if rung.parent else DASH)
    notes = [_expectation_text(rung)]
    if verdict.p_holm is not None:
        notes.insert(0, tr("p {p}, Holm", p=format_p_value(verdict.p_holm)))
    return Cell(capitalize_first(tr(verdict.phrase)), join_clauses(notes), verdict_badge(verdict))


def _spread_cell(analysis: StudyAnalysis, rung: Rung) -> Cell:
    """Return the spread of the last epochs and its difference to the parent."""
    spreads = spreads_of_last_epochs(analysis, rung.condition)
    if not spreads:
        return Cell(DASH)
    note = ""
    parents = spreads_of_last_epochs(analysis, rung.parent) if rung.parent else []
    if analysis.counts.is_complete and min(len(spreads), len(parents)) >= 2:
        effect = welch(spreads, parents)
        interval = effect.interval()
        note = tr(
            "{difference} {interval} to the parent",
            difference=format_signed(effect.estimate, 2),
            interval=format_interval(interval, 2),
        )
    return Cell(format_number(mean(spreads), 2), note)


def _explanation(rung: Rung) -> str:
    """Return the explanation of a rung with its author: it is no finding of these runs."""
    return tr("The study file's explanation: {why}", why=tr_study(rung.why)) if rung.why else ""


def _expectation_text(rung: Rung) -> str:
    within = tr("within {margin}", margin=tr_count(rung.margin, "point")) if rung.margin else ""
    expected = {"greater": tr("better"), "less": tr("worse")}.get(rung.expect, within)
    return tr("expected: {result}", result=expected)


def _plot(analysis: StudyAnalysis) -> LadderPlot:
    names = [rung.condition for rung in analysis.study.ladder]
    rows = tuple(_rung_row(analysis, rung, names) for rung in analysis.study.ladder)
    values = [value for row in rows for value in (row.mean_pct, row.train_pct) if value is not None]
    low, high = min(values, default=0.0), max(values, default=100.0)
    # The scale has all of an interval, unless it is wider than all the means together.
    span = high - low
    lows = [row.low_pct for row in rows if row.low_pct is not None]
    highs = [row.high_pct for row in rows if row.high_pct is not None]
    low, high = max(low - span, min([low, *lows])), min(high + span, max([high, *highs]))
    pad = 0.06 * (high - low) + 0.3
    ends = max(-1.0, low - pad), min(101.0, high + pad)
    caption = tr(
        "Mean test accuracy of each rung with its 95 % interval. A line connects a rung with "
        "the rungs that add to it; a bar is the difference to the parent. Squares: side rungs. "
        "Triangles: accuracy on the train images; a triangle to the right of its point is "
        "overfitting."
    )
    if any(
        row.low_pct is not None
        and row.high_pct is not None
        and not (ends[0] <= row.low_pct <= row.high_pct <= ends[1])
        for row in rows
    ):
        caption += " " + tr("An arrowhead: the interval goes on beyond the scale.")
    descriptions = [
        tr(
            "{rung}: {result}",
            rung=tr("{rung}, a side rung", rung=row.label) if row.is_side_rung else row.label,
            result=" ".join(filter(None, row.texts)),
        )
        for row in rows
    ]
    alt = tr("Steps of the ladder. {rungs}.", rungs=join_clauses(descriptions))
    return LadderPlot("ladder", tr("The ladder"), caption, alt, rows, *ends)


def _rung_row(analysis: StudyAnalysis, rung: Rung, names: list[str]) -> RungRow:
    summary, effect = analysis.summaries[rung.condition], _effect(analysis, rung)
    low, high = summary.interval_pct or (None, None)
    digits = decimals(summary.interval_pct)
    difference = ""
    if effect is not None:
        interval = effect.interval()
        difference = (
            f"{format_signed(effect.estimate, decimals(interval))} "
            f"{format_interval(interval, decimals(interval))}"
        )
    reached = (
        format_pct(summary.mean_pct, digits)
        if summary.mean_pct is not None
        else tr("no trained run")
    )
    return RungRow(
        label=rung.condition,
        is_side_rung=bool(rung.instead_of),
        parent=names.index(rung.parent) if rung.parent else None,
        mean_pct=summary.mean_pct,
        low_pct=low,
        high_pct=high,
        train_pct=_train_pct(analysis, rung.condition),
        texts=(reached, difference),
    )
