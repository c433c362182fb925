"""Figure of loss landscapes, with their numbers and the spread over planes and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resnetlab.inspection.landscape_summary import PlaneSummary, Spread, spread, summarize_plane
from resnetlab.reports.format import join_clauses
from resnetlab.reports.plot_data import LandscapePanel, LandscapePlot
from resnetlab.translation import tr, tr_count

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

PlaneGrid = tuple[tuple[float | None, ...], ...]
"""Losses on a plane: a row for each y, a column for each x; None: not finite."""

Planes = dict[tuple[int, int], PlaneGrid]
"""Losses of a condition by seed and plane."""


def landscape_plot(analysis: StudyAnalysis) -> LandscapePlot | None:
    """Return the figure of the loss landscapes, or None if no run has been measured."""
    planes = _planes_by_condition(analysis)
    if not planes:
        return None
    points = analysis.study_data.landscape_points
    side = len(next(iter(next(iter(planes.values())).values())))
    seeds = {(point.condition, point.seed) for point in points}
    caption = tr(
        "Loss of {images:,} train images on planes through the weights at the end of training, in "
        "evaluation mode: {planes} of {side} x {side} points for each of {runs}. Both directions "
        "of a plane are Gaussian and are scaled filter by filter to the norms of the weights (Li "
        "et al. 2018, sec. 4): at distance 1 each filter has moved by its norm. Each panel is the "
        "first plane of the first measured run; a dot marks its weights, and an x each loss that "
        "is not finite. All panels have the same colors; an arrow stands for all losses beyond.",
        images=min(point.images for point in points),
        planes=tr_count(len({point.plane for point in points}), "plane"),
        side=side,
        runs=tr_count(len(seeds), "run"),
    )
    caption += " " + (
        tr("Batch norm takes the statistics of these images at each point.")
        if points[0].batch_norm == "batch"
        else tr(
            "Batch norm keeps its running statistics, which do not fit away from the weights: the "
            "outputs grow from layer to layer, most in deep plain networks, and the loss with them."
        )
    )
    numbers = _number_sentences(planes)
    caption += " " + " ".join(numbers)
    if len({seed for _, seed in seeds}) == 1:
        caption += " " + tr(
            "With one run per condition this is a description without a verdict: it shows no "
            "spread between runs."
        )
    panels = tuple(
        LandscapePanel(label, next(iter(grids.values()))) for label, grids in planes.items()
    )
    alt = tr(
        "Contour plots of the loss on a plane through the weights, one panel per condition. "
        "{numbers}",
        numbers=" ".join(numbers),
    )
    return LandscapePlot("loss-landscapes", tr("Loss on a random plane"), caption, alt, panels)


def _planes_by_condition(analysis: StudyAnalysis) -> dict[str, Planes]:
    """Return the losses of each condition that was measured, in the order of the conditions."""
    rows: dict[tuple[str, int, int], dict[float, dict[float, float | None]]] = {}
    for point in analysis.study_data.landscape_points:
        grid = rows.setdefault((point.condition, point.seed, point.plane), {})
        grid.setdefault(point.y, {})[point.x] = point.loss_nats
    planes: dict[str, Planes] = {}
    for label in analysis.summaries:
        for condition, seed, plane in sorted(key for key in rows if key[0] == label):
            grid = rows[condition, seed, plane]
            planes.setdefault(label, {})[seed, plane] = tuple(
                tuple(grid[y][x] for x in sorted(grid[y])) for y in sorted(grid)
            )
    return planes


def _number_sentences(planes: dict[str, Planes]) -> list[str]:
    """Return a sentence for each number, with the median and the range of each condition."""
    summaries = {
        label: [summarize_plane(grid) for grid in grids.values()] for label, grids in planes.items()
    }
    return [
        tr(
            "Rise of the loss in nats at distance 1, the mean of four points on the axes, median "
            "(range) over the planes: {values}.",
            values=_values(summaries, "rise_nats"),
        ),
        tr(
            "Grid points with a loss below that of the weights plus 1 nat, in %: {values}.",
            values=_values(summaries, "low_loss_pct"),
        ),
        tr(
            "Second differences of neighboring points that are negative, so that the loss is not "
            "convex there, in %: {values}.",
            values=_values(summaries, "negative_curvature_pct"),
        ),
    ]


def _values(summaries: dict[str, list[PlaneSummary]], field: str) -> str:
    return join_clauses(
        [
            tr(
                "{label} {number}",
                label=label,
                number=_spread_text([getattr(summary, field) for summary in values]),
            )
            for label, values in summaries.items()
        ]
    )


def _spread_text(values: Sequence[float | None]) -> str:
    known: Spread | None = spread(values)
    if known is None:
        return tr("not finite")
    text = tr(
        "{middle:.3g} ({low:.3g} to {high:.3g})",
        middle=known.middle,
        low=known.low,
        high=known.high,
    )
    if known.count < len(values):
        text += tr(
            ", not finite on {lost} of {planes}",
            lost=len(values) - known.count,
            planes=tr_count(len(values), "plane"),
        )
    return text
