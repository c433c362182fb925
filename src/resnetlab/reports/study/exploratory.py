"""Table of differences that no claim declared: an exploration without verdicts."""

from __future__ import annotations

from itertools import combinations, islice
from typing import TYPE_CHECKING

from resnetlab.reports.document import Cell, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    decimals,
    format_count,
    format_interval,
    format_number,
    format_p_value,
    format_signed,
    join_words,
    name_some,
)
from resnetlab.stats.contrasts import Effect
from resnetlab.stats.intervals import Summary
from resnetlab.studies.claims import condition_labels
from resnetlab.translation import tr, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MAX_PAIRS = 15
"""Largest number of pairs; with more pairs each condition is compared only with the best one."""
MAX_ROWS = 20
"""Largest number of rows; a note has the number of the others."""


def table(analysis: StudyAnalysis) -> Table | None:
    """Return the table of pairs with a condition that no claim names.

    It is None if claims name all conditions or if the study is not finished.
    """
    claimed = {label for claim in analysis.study.claims for label in condition_labels(claim)}
    comparable = {
        label: summary for label, summary in analysis.summaries.items() if _is_comparable(summary)
    }
    same_runs = {frozenset(pair) for pair in analysis.study.shared_runs.items()}

    def is_explored(pair: tuple[str, str]) -> bool:
        return (
            not claimed.issuperset(pair)
            and frozenset(pair) not in same_runs
            and analysis.has_difference(*pair)
        )

    if not analysis.counts.complete:
        return None
    # More pairs are not needed: a thousand conditions have half a million.
    pairs = list(islice(filter(is_explored, combinations(comparable, 2)), MAX_PAIRS + 1))
    if not pairs:
        return None
    measure = analysis.study.measure
    best = max(comparable, key=lambda label: measure.sign * (comparable[label].mean_pct or 0.0))
    against_best = len(pairs) > MAX_PAIRS
    if against_best:
        with_best = ((best, label) for label in comparable if label != best)
        pairs = list(filter(is_explored, with_best))
    from scipy.stats import false_discovery_control

    effects = [analysis.difference(a, b) for a, b in pairs]
    tested = [effect for effect in effects if not effect.deterministic]
    p_values = [min(1.0, 2 * min(effect.p_above(0), effect.p_below(0))) for effect in tested]
    adjusted = iter(false_discovery_control(p_values).tolist())
    rows = [
        (pair, effect, None if effect.deterministic else next(adjusted))
        for pair, effect in zip(pairs, effects, strict=True)
    ]
    rows.sort(key=lambda row: -1.0 if row[2] is None else row[2])
    columns = (
        *text_columns("Conditions"),
        *number_columns(
            "Difference, points" if measure.unit == "%" else "Difference",
            "95 % CI",
            "ν",
            "p, Benjamini-Hochberg",
        ),
    )
    selection = tr("The table has each pair with a condition that no claim names")
    if against_best:
        selection = tr(
            "The table compares each condition with {best}, selected after the runs (highest mean)",
            best=best,
        )
        if not measure.higher_is_better:
            selection = tr(
                "The table compares each condition with {best}, selected after the runs (lowest "
                "mean)",
                best=best,
            )
    note = tr(
        "No claim declared these differences, so there is no verdict. {selection}: left minus "
        "right in {measure} over trained runs, by {test}. p is corrected over {tested} for the "
        "false discovery rate (Benjamini and Hochberg 1995); the intervals are not corrected.",
        selection=selection,
        measure=tr_word(measure.name),
        test=_test_name(analysis),
        tested=format_count(len(tested), "difference"),
    )
    if same_runs:
        note += " " + tr(
            "The two modes of evaluation of the same runs are no independent samples, and are "
            "compared only by a paired claim."
        )
    if against_best:
        note += " " + tr("Neither takes into account that the best one was selected by its result.")
    if len(rows) > MAX_ROWS:
        note += " " + tr(
            "{rows} with a larger p are left out.", rows=format_count(len(rows) - MAX_ROWS, "row")
        )
    if short := [label for label in analysis.summaries if label not in comparable]:
        note += " " + tr(
            "Not compared, with fewer than 2 trained runs: {short}.", short=name_some(short)
        )
    return Table(
        "exploratory", columns, tuple(_row(analysis, *row) for row in rows[:MAX_ROWS]), note
    )


def _test_name(analysis: StudyAnalysis) -> str:
    imported = analysis.study.imported
    if imported and imported.overlap:
        return tr("the corrected resampled t-test")
    return tr("a paired t-test") if imported and imported.paired_by else tr("Welch's t")


def _is_comparable(summary: Summary) -> bool:
    return len(summary.trained_pct) >= 2 and not summary.counts.out_of_memory


def _row(
    analysis: StudyAnalysis, pair: tuple[str, str], effect: Effect, p: float | None
) -> tuple[Cell, ...]:
    counts = {label: analysis.summaries[label].counts for label in pair}
    failures = [
        tr(
            "{trained} of {finished} runs of {label}",
            trained=outcomes.trained,
            finished=outcomes.finished,
            label=label,
        )
        for label, outcomes in counts.items()
        if outcomes.trained < outcomes.finished
    ]
    interval = None if effect.deterministic else effect.interval()
    digits = decimals(interval, analysis.study.measure.unit)
    return (
        Cell(
            f"{pair[0]} − {pair[1]}",
            tr("of trained runs alone: {failures}", failures=join_words(failures))
            if failures
            else "",
        ),
        Cell(
            format_signed(effect.estimate, digits),
            tr("deterministic") if effect.deterministic else "",
        ),
        Cell(format_interval(interval, digits)),
        Cell(DASH if effect.df is None else format_number(effect.df)),
        Cell(format_p_value(p)),
    )
