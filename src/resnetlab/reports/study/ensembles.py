"""Table of ensembles, and a sentence about them. It gives no verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from resnetlab.analysis.ensembles import EnsembleRow
from resnetlab.reports.document import Cell, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    capitalize_first,
    decimals,
    format_interval,
    format_pct,
    format_signed,
    join_clauses,
    join_words,
)
from resnetlab.reports.study.references import citation_link
from resnetlab.stats.intervals import POINTS_RANGE, Interval, mean, t_interval, within_range
from resnetlab.studies.published.bibliography import format_citation
from resnetlab.studies.study import Ensemble
from resnetlab.translation import tr, tr_count, tr_study

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def ensemble_table(analysis: StudyAnalysis) -> Table | None:
    """Return the table of ensembles, or None if the study declares none.

    Each condition of an ensemble has a row; the ensembles of all its conditions share one.
    """
    rows = tuple(
        row
        for index, ensemble in enumerate(analysis.study.ensembles)
        for row in _rows(analysis, index, ensemble)
    )
    columns = (
        *text_columns("Ensemble"),
        *number_columns("Networks", "Accuracy", "Mean of its members"),
        *number_columns("Gain, points", "95 % CI of the gain"),
        *text_columns("The interval covers"),
    )
    note = tr(
        "An ensemble predicts the class with the highest mean probability of its members, "
        "which are trained runs. Gain: accuracy of the ensemble minus the mean accuracy of its "
        "members, on the test images. The interval of one ensemble is paired over the test "
        "images (Student's t): it covers other images of the same kind, but not other "
        "trainings of the members. With an ensemble per seed the interval is Student's t over "
        "seeds: it covers other trainings, on these test images."
    )
    return Table("ensembles", columns, rows, note) if rows else None


def ensemble_sentence(analysis: StudyAnalysis) -> str:
    """Return the accuracy of ensembles over conditions in words; empty without one."""
    sentences = []
    for index, ensemble in enumerate(analysis.study.ensembles):
        if across := _across_conditions(analysis, index):
            gain, interval, _ = _gain(across)
            digits = decimals(interval)
            reached = format_pct(mean([joint.accuracy_pct for joint in across]), digits)
            by = tr(
                "{gain} points {interval}",
                gain=format_signed(gain, digits),
                interval=format_interval(interval, digits),
            )
            sentences.append(
                tr(
                    "{conditions} together reach {reached}, {by} over the mean of the members.",
                    conditions=capitalize_first(join_words(ensemble.conditions)),
                    reached=reached,
                    by=by,
                )
            )
    return " ".join(sentences)


def _rows(analysis: StudyAnalysis, index: int, ensemble: Ensemble) -> Iterator[tuple[Cell, ...]]:
    by_condition = {
        joint.condition: joint for joint in analysis.study_data.ensembles if joint.ensemble == index
    }
    for label in ensemble.conditions:
        yield _row(
            Cell(label, tr("all its seeds")),
            [by_condition[label]] if label in by_condition else [],
        )
    if len(ensemble.conditions) > 1:
        citation = format_citation(ensemble.source)
        name = Cell(
            tr("One of each: {conditions}", conditions=join_words(ensemble.conditions)),
            join_clauses(filter(None, (tr_study(ensemble.statement), citation))),
            "",
            *citation_link(analysis, ensemble.source),
        )
        yield _row(name, _across_conditions(analysis, index))


def _across_conditions(analysis: StudyAnalysis, index: int) -> list[EnsembleRow]:
    return [
        joint
        for joint in analysis.study_data.ensembles
        if joint.ensemble == index and not joint.condition
    ]


def _row(name: Cell, ensemble_rows: Sequence[EnsembleRow]) -> tuple[Cell, ...]:
    if not ensemble_rows:
        return (name, *[Cell(DASH)] * 6)
    gain, interval, covers = _gain(ensemble_rows)
    digits = decimals(interval)
    several = ""
    if len(ensemble_rows) > 1:
        several = tr(
            "{ensembles}, one per seed",
            ensembles=tr_count(len(ensemble_rows), "ensemble"),
        )
    return (
        name,
        Cell(str(ensemble_rows[0].members), several),
        Cell(format_pct(mean([joint.accuracy_pct for joint in ensemble_rows]), digits)),
        Cell(format_pct(mean([joint.members_pct for joint in ensemble_rows]), digits)),
        Cell(format_signed(gain, digits)),
        Cell(format_interval(interval, digits)),
        Cell(covers),
    )


def _gain(ensemble_rows: Sequence[EnsembleRow]) -> tuple[float, Interval | None, str]:
    """Return the gain over the members in points, its interval, and the interval's meaning."""
    gains = [joint.gain for joint in ensemble_rows]
    if len(ensemble_rows) > 1:
        return (
            mean(gains),
            within_range(t_interval(gains), POINTS_RANGE),
            tr("other seeds, these test images"),
        )
    return (
        gains[0],
        Interval(ensemble_rows[0].gain_low, ensemble_rows[0].gain_high),
        tr("other images, these trained networks"),
    )
