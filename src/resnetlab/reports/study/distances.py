"""How far apart the test curves of pairs of conditions lie, as a table: described, not judged."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from resnetlab.reports.document import Cell, Column, Table
from resnetlab.reports.format import NOTHING, number, plural
from resnetlab.reports.study.references import address
from resnetlab.stats.intervals import mean
from resnetlab.studies.study import Distance

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

Curve = Mapping[float, float]
"""Percent right or nats by epoch."""


def table(judged: StudyAnalysis) -> Table | None:
    """A row a pair; None where the study asks for none."""
    rows = tuple(
        _row(judged, distance, left, right)
        for distance in judged.study.distances
        for left, right in zip(distance.left, distance.right, strict=True)
    )
    columns = (
        Column("Curves", numeric=False), Column("Said", numeric=False), Column("SSR of the means"),
        Column("SSR of runs"), Column("SSR within the first"),
    )  # fmt: skip
    note = (
        "SSR: the sum over epochs, without step 0, of the squared difference of two test curves of converged runs. "
        "Of runs: each against the other condition's run of the same seed; their mean, and the least and the greatest. "
        "Within the first: the mean over pairs of its own runs, which is what chance alone sets apart. Curves of means "
        "lie closer together than those of runs."
    )
    return Table("distances", columns, rows, note) if rows else None


def _row(judged: StudyAnalysis, distance: Distance, left: str, right: str) -> tuple[Cell, ...]:
    a, b = (_curves(judged, label, distance.metric) for label in (left, right))
    loss = distance.metric == "loss"
    digits, unit = (4, "nats²") if loss else (1, "points²")
    runs = [_ssr(a[seed], b[seed]) for seed in a if seed in b]
    within = [_ssr(one, other) for one, other in itertools.combinations(a.values(), 2)]

    def said(value: float) -> str:
        return f"{number(value, digits)} {unit}"

    each = Cell(NOTHING)
    if runs:
        span = f"{number(min(runs), digits)} to {number(max(runs), digits)}; {plural(len(runs), 'seed')}"
        each = Cell(said(mean(runs)), span)
    return (
        Cell(f"{left} and {right}", "test loss" if loss else "test accuracy"),
        Cell(distance.says, distance.source, cited=distance.source, url=address(judged, distance.source)),
        Cell(said(_ssr(_mean(a), _mean(b))) if a and b else NOTHING),
        each,
        Cell(said(mean(within)) if within else NOTHING),
    )


def _curves(judged: StudyAnalysis, label: str, metric: str) -> dict[int, Curve]:
    """The test curve of each converged run, by seed."""
    held: dict[int, dict[float, float]] = {row.seed: {} for row in judged.rows(label) if row.status == "converged"}
    for point in judged.evidence.points:
        value = point.loss_nats if metric == "loss" else 100 - point.top1_error_pct
        if (
            (point.condition, point.split) == (label, "test")
            and point.seed in held
            and point.step
            and value is not None
        ):
            held[point.seed][point.epoch] = value
    return {seed: curve for seed, curve in held.items() if curve}


def _ssr(a: Curve, b: Curve) -> float:
    return sum((a[epoch] - b[epoch]) ** 2 for epoch in a if epoch in b)


def _mean(curves: Mapping[int, Curve]) -> Curve:
    """Over the epochs that all have."""
    first = next(iter(curves.values()))
    shared = [epoch for epoch in first if all(epoch in curve for curve in curves.values())]
    return {epoch: mean([curve[epoch] for curve in curves.values()]) for epoch in shared}
