"""Scatter plots of accuracy against cost: parameters, and test images a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnetlab.reports.format import format_number, format_pct, join_clauses, join_words
from resnetlab.reports.plot_data import ScatterPlot, ScatterPoint
from resnetlab.reports.study.finetune import has_finetuning
from resnetlab.stats.intervals import mean
from resnetlab.translation import tr

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def scatter_plots(analysis: StudyAnalysis) -> tuple[ScatterPlot, ...]:
    """Return the plots of several pre-trained networks, and those of published networks."""
    return (*_measured_plots(analysis), *_reference_plots(analysis))


def _measured_plots(analysis: StudyAnalysis) -> tuple[ScatterPlot, ...]:
    models = {condition.model for condition in analysis.study.conditions}
    if not has_finetuning(analysis) or len({repr(model) for model in models}) < 2:
        return ()
    by_parameters, by_speed = [], []
    for label, summary in analysis.summaries.items():
        rows = analysis.rows(label)
        if summary.mean_pct is None:
            continue
        low, high = summary.interval_pct or (None, None)
        rest = (label, summary.mean_pct, low, high, analysis.series_index(label))
        if rows[0].parameters:
            by_parameters.append(ScatterPoint(float(rows[0].parameters), *rest))
        seconds = [
            row.evaluation_seconds
            for row in rows
            if row.status == "trained" and row.evaluation_seconds
        ]
        if seconds and (images := analysis.data(label).test_images):
            by_speed.append(ScatterPoint(images / mean(seconds), *rest))
    caption = tr(
        "Mean test accuracy of the trained runs; line: its 95 % t-interval over the seeds, cut "
        "at the edge of the scale."
    )
    plots = []
    if len({point.x for point in by_parameters}) > 1:
        plots.append(
            _scatter(
                "parameters",
                tr("Accuracy against parameters"),
                tr("parameters"),
                caption,
                by_parameters,
            )
        )
    if len({point.x for point in by_speed}) > 1:
        unit = tr("test images per second")
        speed_caption = tr(
            "{caption} Decoding is included, and other runs may have shared the machine.",
            caption=caption,
        )
        plots.append(
            _scatter(
                "speed", tr("Accuracy against images per second"), unit, speed_caption, by_speed
            )
        )
    return tuple(plots)


def _reference_plots(analysis: StudyAnalysis) -> tuple[ScatterPlot, ...]:
    references = [
        pair
        for pair in analysis.study.unmatched_references
        if pair.value.parameters and pair.value.accuracy_pct is not None
    ]
    plots = []
    for data in dict.fromkeys(pair.protocol.data for pair in references):
        pairs = [pair for pair in references if pair.protocol.data == data]
        points = [
            ScatterPoint(
                float(pair.value.parameters or 0),
                pair.value.label,
                pair.value.accuracy_pct or 0.0,
                None,
                None,
                0,
            )
            for pair in pairs
        ]
        sources = join_words(list(dict.fromkeys(pair.title for pair in pairs)))
        caption = tr(
            "Published numbers, not measured here: accuracy on {data} ({sources}).",
            data=data,
            sources=sources,
        )
        title = tr("Published accuracy on {data} against parameters", data=data)
        plots.append(
            _scatter(f"published-{data}", title, tr("parameters"), caption, points, published=True)
        )
    return tuple(plots)


def _scatter(
    key: str,
    title: str,
    unit: str,
    caption: str,
    points: list[ScatterPoint],
    published: bool = False,
) -> ScatterPlot:
    values = [point.y_pct for point in points]
    pad = max(1.0, 0.35 * (max(values) - min(values)))
    described = [
        tr(
            "{label}: {cost}, {accuracy}",
            label=point.label,
            cost=format_number(point.x, 0),
            accuracy=format_pct(point.y_pct),
        )
        for point in points
    ]
    alt = f"{title}. {join_clauses(described)}."
    ends = max(0.0, min(values) - pad), min(100.5, max(values) + pad)
    return ScatterPlot(key, title, caption, alt, unit, tuple(points), *ends, published)
