"""Values of the figures of learning curves: curves, means, bands and scales. It draws nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.analysis.study_data import CurvePoint
from resnetlab.reports.format import capitalize_first, join_clauses
from resnetlab.reports.plot_data import LearningCurves, Line, Panel
from resnetlab.reports.study.curve_captions import MIN_T_BAND_RUNS, caption
from resnetlab.reports.study.reference_plots import published_curve
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval, mean, t_interval, within_range
from resnetlab.studies.claims import Best, Monotone, condition_labels
from resnetlab.translation import deferred, tr

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MAX_PANELS = 24
"""Largest number of panels; a larger figure is hard to read and takes very long to draw."""


def learning_curves(analysis: StudyAnalysis) -> tuple[LearningCurves, ...]:
    """Return the curves of the recorded losses, and of the error on one split."""
    points = analysis.study_data.curve_points
    if analysis.study.imported:
        return _imported_curves(analysis) if points else ()
    figures = []
    if any(point.split == "train" for point in points):
        figures.append(_curves(analysis, "train", "loss"))
    recorded = {point.split for point in points}
    if any(point.split == "test" and point.loss_nats is not None for point in points):
        figures.append(_curves(analysis, "test", "loss"))
    for split in ("test", "validation", "train"):
        if split in recorded:
            single = _curves(analysis, split, "error")
            figures.append(single)
            if pairs := _pairs(analysis, split):
                figures.append(_pair_curves(analysis, pairs, split, single))
            break
    return tuple(figures)


def _imported_curves(analysis: StudyAnalysis) -> tuple[LearningCurves, ...]:
    """Return the figure of the values of imported runs over their epochs."""
    measure = analysis.study.measure
    labels, left_out = _panel_labels(analysis)
    panels = tuple(_panel(analysis, label, "test", "value") for label in labels)
    values = [y for panel in panels for line in panel.runs for y in line.y]
    low, high = min(values), max(values)
    padding = 0.05 * (high - low or abs(high) or 1.0)
    y_min, y_max = low - padding, high + padding
    if measure.unit == "%":
        y_min, y_max = max(0.0, y_min), min(100.0, y_max)
    title = f"{capitalize_first(measure.name)} by epoch"
    finals = [f"{panel.label} {panel.mean.y[-1]:.4g}" for panel in panels if panel.mean]
    figure = LearningCurves(
        key="values",
        title=title,
        caption=caption(analysis, panels, left_out, split=""),
        alt=f"{title}, one panel per condition. Last value of the mean: {'; '.join(finals)}.",
        unit=measure.unit,
        panels=panels,
        uniform_loss=None,
        uniform_loss_label="",
        y_max=y_max,
        omitted_conditions=len(left_out),
        y_min=y_min,
    )
    return (figure,)


def _pairs(analysis: StudyAnalysis, split: str) -> list[Panel]:
    """Return a panel for each two conditions that a claim compares, if both have curves."""
    compared: dict[frozenset[str], tuple[str, str]] = {}
    for claim in analysis.study.claims:
        if not isinstance(claim, Monotone | Best):
            labels = condition_labels(claim)
            for pair in zip(labels[::2], labels[1::2], strict=True):
                compared.setdefault(frozenset(pair), pair)
    panels = []
    for left, right in compared.values():
        upper, lower = (_panel(analysis, label, split, "error") for label in (left, right))
        if upper.runs and lower.runs:
            partner = replace(lower, series_index=0)
            panels.append(
                replace(
                    upper,
                    label=tr("{left} and {right}", left=left, right=right),
                    series_index=1,
                    partner=partner,
                    condition=left,
                )
            )
    return panels[:MAX_PANELS]


def _pair_curves(
    analysis: StudyAnalysis, panels: list[Panel], split: str, single: LearningCurves
) -> LearningCurves:
    """Return the figure of the pairs of claims, on the scale of the figure of all conditions."""
    finals = [
        tr(
            "{label} {first:.2f} and {second:.2f}",
            label=panel.label,
            first=panel.mean.y[-1],
            second=panel.partner.mean.y[-1],
        )
        for panel in panels
        if panel.mean and panel.partner and panel.partner.mean
    ]
    title = tr("{title} of the two conditions of a claim", title=single.title)
    lines = tr("The two conditions of a claim in one panel: the first solid, the second dashed.")
    return LearningCurves(
        key=f"{split}-error-pairs",
        title=title,
        caption=f"{lines} {caption(analysis, tuple(panels), [], split)}",
        alt=tr(
            "{title}. Last value of the means: {values}.",
            title=title,
            values=join_clauses(finals) or tr("none yet"),
        ),
        unit=single.unit,
        panels=tuple(panels),
        uniform_loss=None,
        uniform_loss_label="",
        y_max=single.y_max,
    )


def _panel_labels(analysis: StudyAnalysis) -> tuple[list[str], list[str]]:
    """Return the conditions with a panel and those without one, each in the order of the study.

    The main rungs of a ladder come before its side rungs.
    """
    labels = list(analysis.summaries)
    side_rungs = {rung.condition for rung in analysis.study.ladder if rung.instead_of}
    main_first = sorted(labels, key=lambda label: label in side_rungs)
    with_panel = set(main_first[:MAX_PANELS])
    return (
        [label for label in labels if label in with_panel],
        [label for label in labels if label not in with_panel],
    )


_ERROR_TITLES = {
    "train": deferred("Train subset error"),
    "validation": deferred("Validation error"),
    "test": deferred("Test error"),
}


def _curves(analysis: StudyAnalysis, split: str, quantity: str) -> LearningCurves:
    """Return the figure of the loss or the error on a split, with a panel for each condition."""
    labels, left_out = _panel_labels(analysis)
    panels = tuple(_panel(analysis, label, split, quantity) for label in labels)
    if analysis.study.ladder and (split, quantity) == ("test", "error"):
        train_means = [_panel(analysis, label, "train", quantity).mean for label in labels]
        panels = tuple(
            replace(panel, other_split_mean=line)
            for panel, line in zip(panels, train_means, strict=True)
        )
    uniform_loss, uniform_loss_label = None, ""
    classes = {len(dataset.classes) for dataset in analysis.study_data.data}
    if quantity == "loss" and len(classes) == 1:
        uniform_loss = math.log(max(classes))
        uniform_loss_label = f"ln {max(classes)}" if uniform_loss else ""
    y_max, is_cut = _scale(panels, quantity, uniform_loss)
    title = {
        "loss": tr("Test loss") if split == "test" else tr("Loss on the train subset"),
        "error": tr(_ERROR_TITLES[split]),
    }[quantity]
    finals = [
        tr("{label} {value:.2f}", label=panel.label, value=panel.mean.y[-1])
        for panel in panels
        if panel.mean
    ]
    return LearningCurves(
        key=f"{split}-{quantity}",
        title=title,
        caption=caption(analysis, panels, left_out, split, uniform_loss, is_cut),
        alt=tr(
            "{title} by epoch, one panel per condition. Last value of the mean: {values}.",
            title=title,
            values=join_clauses(finals) or tr("none yet"),
        ),
        unit="nats" if quantity == "loss" else "%",
        panels=panels,
        uniform_loss=uniform_loss,
        uniform_loss_label=uniform_loss_label,
        y_max=y_max,
        omitted_conditions=len(left_out),
    )


def _scale(
    panels: tuple[Panel, ...], quantity: str, uniform_loss: float | None
) -> tuple[float, bool]:
    """Return the upper end of the scale of a figure, and whether a value is above it."""
    lines = [line for panel in panels for line in panel.runs]
    lines += [panel.published for panel in panels if panel.published]
    highest = max((y for line in lines for y in line.y), default=None)
    y_max = 1.05 * (1.0 if highest is None else highest)
    if uniform_loss:
        y_max = max(1.15 * uniform_loss, min(y_max, 3 * uniform_loss))
        return y_max, highest is not None and highest > y_max
    return min(100.0, y_max) if quantity == "error" else y_max, False


def _panel(analysis: StudyAnalysis, label: str, split: str, quantity: str) -> Panel:
    """Return the curves of a condition's runs, their mean and its band."""
    points_by_seed: dict[int, list[CurvePoint]] = {}
    for point in analysis.points(label):
        if point.split == split:
            points_by_seed.setdefault(point.seed, []).append(point)
    lines = []
    trained_curves = []
    for row in analysis.rows(label):
        curve = _curve(points_by_seed.get(row.seed, []), quantity)
        if curve:
            lines.append(Line(row.status, tuple(curve), tuple(curve.values()), row.seed))
        if curve and row.status == "trained":
            trained_curves.append(curve)
    published = None
    if split == "test":
        published = _published_line(analysis, label, quantity)
    panel = Panel(
        label, analysis.series_index(label), tuple(lines), None, None, published=published
    )
    epochs = _shared_epochs(trained_curves)
    if not epochs:
        return panel
    columns = [[curve[epoch] for curve in trained_curves] for epoch in epochs]
    average = Line("trained", tuple(epochs), tuple(mean(column) for column in columns))
    possible = ACCURACY_RANGE_PCT if quantity == "error" else Interval(0.0, math.inf)
    if quantity == "value":
        possible = analysis.study.measure.value_range
    band = _band(columns, possible) if len(trained_curves) >= 2 else None
    return replace(panel, mean=average, band=band)


def _published_line(analysis: StudyAnalysis, label: str, quantity: str) -> Line | None:
    curve = published_curve(analysis, label, quantity)
    return Line("trained", tuple(curve), tuple(curve.values())) if curve else None


def _curve(points: list[CurvePoint], quantity: str) -> dict[float, float]:
    """Return the recorded values of a run by epoch, in the order of the epochs."""
    values = {}
    for point in points:
        known = {"loss": point.loss_nats, "value": point.value}
        values[point.epoch] = known.get(quantity, point.top1_error_pct)
    return {epoch: value for epoch, value in sorted(values.items()) if value is not None}


def _shared_epochs(curves: list[dict[float, float]]) -> list[float]:
    """Return the epochs at which each of the curves has a value."""
    if not curves:
        return []
    return [epoch for epoch in curves[0] if all(epoch in curve for curve in curves)]


def _band(
    columns: list[list[float]], possible: Interval
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the lower and the upper edge of the band around a mean.

    Args:
        columns: Values of the trained runs at each epoch.
        possible: Range of possible values, at whose ends the band is cut.
    """
    use_t = len(columns[0]) >= MIN_T_BAND_RUNS
    edges = [
        t_interval(column) if use_t else Interval(min(column), max(column)) for column in columns
    ]
    cut = [within_range(edge, possible) for edge in edges]
    pairs = [edge for edge in cut if edge is not None]
    return tuple(low for low, _ in pairs), tuple(high for _, high in pairs)
