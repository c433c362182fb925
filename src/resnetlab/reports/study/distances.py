"""Table of distances between the test curves of pairs of conditions. It gives no verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from resnetlab.reports.document import Cell, Table, number_columns, text_columns
from resnetlab.reports.format import DASH, format_number, join_clauses
from resnetlab.reports.study.reference_plots import published_curve
from resnetlab.reports.study.references import citation_link
from resnetlab.stats.intervals import mean
from resnetlab.studies.published.bibliography import format_citation
from resnetlab.studies.study import Distance
from resnetlab.translation import tr, tr_count, tr_study

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

Curve = Mapping[float, float]
"""Test curve: accuracy in percent, or loss in nats, by epoch."""


def distance_table(analysis: StudyAnalysis) -> Table | None:
    """Return the table with a row for each pair, or None if the study declares no distance."""
    pairs = [
        (distance, left, right)
        for distance in analysis.study.distances
        for left, right in zip(distance.left, distance.right, strict=True)
    ]
    published = [_published(analysis, *pair) for pair in pairs] if pairs else []
    is_known = any(published)
    rows = tuple(
        _row(analysis, *pair) + ((cell or Cell(DASH),) if is_known else ())
        for pair, cell in zip(pairs, published, strict=True)
    )
    columns = (
        *text_columns("Curves", "Statement"),
        *number_columns("SSR of the means", "SSR of runs", "SSR within the first"),
        *(number_columns("SSR of the published means") if is_known else ()),
    )
    note = tr(
        "SSR: the sum over epochs, without step 0, of the squared difference of two test "
        "curves of trained runs. SSR of runs: each run and the run of the other condition with "
        "the same seed; mean, smallest and largest value. SSR within the first: the mean over "
        "pairs of runs of the first condition, a difference due to the seed alone. Curves of "
        "means are closer than curves of runs."
    )
    if is_known:
        note += " " + tr(
            "SSR of the published means: computed in the same way from the source's values of "
            "every run and epoch, over all of its epochs. A sum over more epochs is larger."
        )
    return Table("distances", columns, rows, note) if rows else None


def _row(analysis: StudyAnalysis, distance: Distance, left: str, right: str) -> tuple[Cell, ...]:
    a, b = (_curves(analysis, label, distance.metric) for label in (left, right))
    loss = distance.metric == "loss"
    digits = 4 if loss else 1
    runs = [_sum_squared_differences(a[seed], b[seed]) for seed in a if seed in b]
    pairs = itertools.combinations(a.values(), 2)
    within = [_sum_squared_differences(first, second) for first, second in pairs]
    runs_cell = Cell(DASH)
    if runs:
        span = tr(
            "{low} to {high}",
            low=format_number(min(runs), digits),
            high=format_number(max(runs), digits),
        )
        span = join_clauses([span, tr_count(len(runs), "seed")])
        runs_cell = Cell(_with_unit(mean(runs), distance), span)
    return (
        Cell(
            tr("{left} and {right}", left=left, right=right),
            tr("test loss") if loss else tr("test accuracy"),
        ),
        Cell(
            tr_study(distance.statement),
            format_citation(distance.source),
            "",
            *citation_link(analysis, distance.source),
        ),
        _means_cell(_mean_curve(a), _mean_curve(b), distance) if a and b else Cell(DASH),
        runs_cell,
        Cell(_with_unit(mean(within), distance) if within else DASH),
    )


def _published(analysis: StudyAnalysis, distance: Distance, left: str, right: str) -> Cell | None:
    """Return the distance between two published mean curves; None if one is not published."""
    quantity = "loss" if distance.metric == "loss" else "accuracy"
    a, b = (published_curve(analysis, label, quantity) for label in (left, right))
    if not a or not b:
        return None
    return _means_cell(a, b, distance)


def _means_cell(a: Curve, b: Curve, distance: Distance) -> Cell:
    """Return the distance between two mean curves with the number of epochs that it sums over."""
    epochs = tr_count(len(a.keys() & b.keys()), "epoch")
    return Cell(_with_unit(_sum_squared_differences(a, b), distance), epochs)


def _with_unit(value: float, distance: Distance) -> str:
    digits, unit = (4, "nats²") if distance.metric == "loss" else (1, "points²")
    return f"{format_number(value, digits)} {unit}"


def _curves(analysis: StudyAnalysis, label: str, metric: str) -> dict[int, Curve]:
    """Return the test curve of each trained run, by seed."""
    curves: dict[int, dict[float, float]] = {
        row.seed: {} for row in analysis.rows(label) if row.status == "trained"
    }
    for point in analysis.study_data.curve_points:
        value = point.loss_nats if metric == "loss" else point.accuracy_pct
        if (
            (point.condition, point.split) == (label, "test")
            and point.seed in curves
            and point.step
            and value is not None
        ):
            curves[point.seed][point.epoch] = value
    return {seed: curve for seed, curve in curves.items() if curve}


def _sum_squared_differences(a: Curve, b: Curve) -> float:
    return sum((a[epoch] - b[epoch]) ** 2 for epoch in a if epoch in b)


def _mean_curve(curves: Mapping[int, Curve]) -> Curve:
    """Return the mean curve over the epochs that all curves have."""
    first = next(iter(curves.values()))
    shared = [epoch for epoch in first if all(epoch in curve for curve in curves.values())]
    return {epoch: mean([curve[epoch] for curve in curves.values()]) for epoch in shared}
