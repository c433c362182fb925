"""Table of differences that no claim declared: an exploration without verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import TYPE_CHECKING

from resnetlab.reports.document import Cell, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    decimals,
    format_interval,
    format_number,
    format_p_value,
    format_signed,
    join_words,
    name_some,
)
from resnetlab.stats.contrasts import Effect
from resnetlab.stats.intervals import ConditionSummary
from resnetlab.studies.claims import condition_labels
from resnetlab.translation import tr, tr_count, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MAX_PAIRS = 15
"""Largest number of pairs; with more pairs each condition is compared only with the best one."""
MAX_ROWS = 20
"""Largest number of rows; a note has the number of the others."""


@dataclass(frozen=True)
class _Difference:
    """Difference of the trained runs of two conditions, left minus right."""

    left: str
    right: str
    effect: Effect
    p: float | None
    """p-value, corrected over all differences of the table; None if all runs are equal."""


def exploratory_table(analysis: StudyAnalysis) -> Table | None:
    """Return the table of pairs with a condition that no claim names.

    It is None if claims name all conditions or if the study is not finished.
    """
    if not analysis.counts.is_complete:
        return None
    comparable = [label for label, summary in analysis.summaries.items() if _is_comparable(summary)]
    # More pairs are not needed: a thousand conditions have half a million.
    explored = _explored_pairs(analysis, combinations(comparable, 2))
    pairs = list(islice(explored, MAX_PAIRS + 1))
    if not pairs:
        return None
    best = ""
    if len(pairs) > MAX_PAIRS:
        best = _best_condition(analysis, comparable)
        with_best = ((best, label) for label in comparable if label != best)
        pairs = list(_explored_pairs(analysis, with_best))
    differences = _test_differences(analysis, pairs)
    columns = (
        *text_columns("Conditions"),
        *number_columns(
            "Difference, points" if analysis.study.measure.unit == "%" else "Difference",
            "95 % CI",
            "ν",
            "p, Benjamini-Hochberg",
        ),
    )
    rows = tuple(_row(analysis, difference) for difference in differences[:MAX_ROWS])
    not_compared = [label for label in analysis.summaries if label not in comparable]
    return Table("exploratory", columns, rows, _note(analysis, differences, best, not_compared))


def _is_comparable(summary: ConditionSummary) -> bool:
    return len(summary.trained_pct) >= 2 and not summary.counts.out_of_memory


def _explored_pairs(
    analysis: StudyAnalysis, pairs: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield the pairs with a condition that no claim names, if their runs are not the same ones."""
    claimed = {label for claim in analysis.study.claims for label in condition_labels(claim)}
    same_runs = {frozenset(pair) for pair in analysis.study.shared_runs.items()}
    for pair in pairs:
        is_new = not claimed.issuperset(pair) and frozenset(pair) not in same_runs
        if is_new and analysis.has_difference(*pair):
            yield pair


def _best_condition(analysis: StudyAnalysis, labels: list[str]) -> str:
    """Return the condition with the best mean of its trained runs."""
    sign = analysis.study.measure.sign
    return max(labels, key=lambda label: sign * (analysis.summaries[label].mean_pct or 0.0))


def _test_differences(
    analysis: StudyAnalysis, pairs: Sequence[tuple[str, str]]
) -> list[_Difference]:
    """Return the differences of pairs of conditions, those with the smallest p first."""
    from scipy.stats import false_discovery_control

    effects = [analysis.difference(left, right) for left, right in pairs]
    p_values = [effect.two_sided_p for effect in effects if not effect.is_deterministic]
    corrected = iter(false_discovery_control(p_values).tolist())
    differences = [
        _Difference(left, right, effect, None if effect.is_deterministic else next(corrected))
        for (left, right), effect in zip(pairs, effects, strict=True)
    ]
    return sorted(differences, key=lambda item: -1.0 if item.p is None else item.p)


def _note(
    analysis: StudyAnalysis, differences: Sequence[_Difference], best: str, not_compared: list[str]
) -> str:
    """Return the note of the table: selection of the pairs, test, correction, and what is left out.

    Args:
        analysis: Analysis of the study.
        differences: All differences, also those without a row.
        best: Condition that each other one is compared with; empty if all pairs are compared.
        not_compared: Conditions with too few trained runs.
    """
    measure = analysis.study.measure
    selection = tr("The table has each pair with a condition that no claim names")
    if best and measure.higher_is_better:
        selection = tr(
            "The table compares each condition with {best}, selected after the runs (highest mean)",
            best=best,
        )
    elif best:
        selection = tr(
            "The table compares each condition with {best}, selected after the runs (lowest mean)",
            best=best,
        )
    tested = sum(difference.p is not None for difference in differences)
    sentences = [
        tr(
            "No claim declared these differences, so there is no verdict. {selection}: left minus "
            "right in {measure} over trained runs, by {test}. p is corrected over {tested} for the "
            "false discovery rate (Benjamini and Hochberg 1995); the intervals are not corrected.",
            selection=selection,
            measure=tr_word(measure.name),
            test=_test_name(analysis),
            tested=tr_count(tested, "difference"),
        )
    ]
    if analysis.study.shared_runs:
        sentences.append(
            tr(
                "The two modes of evaluation of the same runs are no independent samples, and are "
                "compared only by a paired claim."
            )
        )
    if best:
        sentences.append(
            tr("Neither takes into account that the best one was selected by its result.")
        )
    if len(differences) > MAX_ROWS:
        left_out = tr_count(len(differences) - MAX_ROWS, "row")
        sentences.append(tr("{rows} with a larger p are left out.", rows=left_out))
    if not_compared:
        sentences.append(
            tr(
                "Not compared, with fewer than 2 trained runs: {short}.",
                short=name_some(not_compared),
            )
        )
    return " ".join(sentences)


def _test_name(analysis: StudyAnalysis) -> str:
    imported = analysis.study.imported
    if imported and imported.overlap:
        return tr("the corrected resampled t-test")
    return tr("a paired t-test") if imported and imported.paired_by else tr("Welch's t")


def _row(analysis: StudyAnalysis, difference: _Difference) -> tuple[Cell, ...]:
    left, right, effect = difference.left, difference.right, difference.effect
    counts = {label: analysis.summaries[label].counts for label in (left, right)}
    failures = [
        tr(
            "{trained} of {finished} runs of {label}",
            trained=outcomes.trained,
            finished=outcomes.ended,
            label=label,
        )
        for label, outcomes in counts.items()
        if outcomes.trained < outcomes.ended
    ]
    interval = None if effect.is_deterministic else effect.interval()
    digits = decimals(interval, analysis.study.measure.unit)
    return (
        Cell(
            f"{left} − {right}",
            tr("of trained runs alone: {failures}", failures=join_words(failures))
            if failures
            else "",
        ),
        Cell(
            format_signed(effect.estimate, digits),
            tr("deterministic") if effect.is_deterministic else "",
        ),
        Cell(format_interval(interval, digits)),
        Cell(DASH if effect.df is None else format_number(effect.df)),
        Cell(format_p_value(difference.p)),
    )
