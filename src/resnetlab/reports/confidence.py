"""Section of a page about what a model does not know: prediction sets, unanswered images, images
of other things. Does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnetlab.reports.document import Cell, Fact, Table, number_columns
from resnetlab.reports.format import format_count, format_interval, format_number, format_pct
from resnetlab.stats.intervals import Interval

if TYPE_CHECKING:
    from resnetlab.deploy.results import EvaluationResult, Proportion, SetScores

TABLE_SHARES = (100, 95, 90, 80, 70, 50)
"""Shares of answered images in the table, in percent."""


@dataclass(frozen=True)
class AnsweredPlot:
    """Curve of the accuracy by the share that is answered, in coordinates of the drawing.

    The drawing is 400 wide and 370 high; its axes go from (50, 320) to (390, 20).
    """

    ticks: tuple[tuple[float, str], ...]
    """Position on the vertical axis and text of each tick."""
    line: str
    """Points of the curve, as SVG writes them."""
    band: str
    """Points of the outline of the 95 % intervals."""
    alt: str


def confidence_facts(result: EvaluationResult) -> tuple[Fact, ...]:
    """Return sentences about the prediction sets and the answer none of these."""
    return tuple(_facts(result))


def _facts(result: EvaluationResult) -> Iterator[Fact]:
    if sets := result.sets:
        yield Fact("Prediction sets", _describe_sets(sets))
        if sets.classes:
            name, lowest = min(sets.classes, key=lambda item: (item[1].pct, item[0]))
            yield Fact("Lowest coverage of a class", f"{name}: {_proportion(lowest)}")
    if novelty := result.novelty:
        yield Fact(
            "None of these, by mistake",
            f"{_proportion(novelty.known_turned_away)} of these images are called none of these. "
            f"The threshold is to keep {novelty.known_share_pct:g} % of the images of the classes.",
        )
        if others := novelty.strangers:
            yield Fact(
                f"Images of other things ({others.name})",
                f"{_proportion(others.turned_away)} of "
                f"{format_count(others.turned_away.images, 'image')} are called none of these. "
                f"ROC-AUC {others.roc_auc:.3f}: the probability that such an image has a higher "
                "novelty than one of the classes.",
            )


def _describe_sets(sets: SetScores) -> str:
    size = f"{sets.mean_size:.2f}"
    if sets.mean_size_low is not None and sets.mean_size_high is not None:
        size += f" {format_interval(Interval(sets.mean_size_low, sets.mean_size_high), 2)}"
    thresholds = "All classes share one threshold."
    if sets.class_thresholds:
        count = format_count(sets.class_thresholds, "class")
        verb = "has" if sets.class_thresholds == 1 else "have"
        thresholds = f"{count} {verb} enough validation images for a separate threshold."
    return (
        f"Stated coverage {sets.coverage_pct:g} %; measured: {_proportion(sets.covered)} of the "
        f"sets contain the right class. A set has {size} classes on average; "
        f"{format_pct(sets.single.pct)} have one class and {format_pct(sets.empty.pct)} are empty, "
        f"because no class is probable enough. {thresholds}"
    )


def answered_table(result: EvaluationResult) -> Table:
    """Return the table of the accuracy by the share that is answered."""
    columns = number_columns("Share of the images", "Accuracy", "Images", "Lowest probability")
    rows = tuple(
        (
            Cell(f"{item.answered_pct:g} % answered"),
            Cell(
                format_pct(item.accuracy.pct),
                format_interval(Interval(item.accuracy.low, item.accuracy.high)),
            ),
            Cell(f"{item.accuracy.images:,}"),
            Cell(f"{item.min_probability:.3f}"),
        )
        for item in result.answered
        if item.answered_pct in TABLE_SHARES
    )
    note = (
        "The images with the highest probability of a class are answered, and the others get no "
        "answer. A limit for predict --min-probability is the lowest probability of a row."
    )
    return Table("answered", columns, rows, note)


def answered_plot(result: EvaluationResult) -> AnsweredPlot | None:
    """Return the curve of the accuracy by the share that is answered; None without images."""
    if not result.answered:
        return None
    low = 10 * math.floor(min(item.accuracy.low for item in result.answered) / 10)
    low = min(low, 90)

    def x(share: float) -> float:
        return 50 + 3.4 * share

    def y(value: float) -> float:
        return 320 - 300 * (value - low) / (100 - low)

    items = sorted(result.answered, key=lambda item: item.answered_pct)
    upper = [(x(item.answered_pct), y(item.accuracy.high)) for item in items]
    lower = [(x(item.answered_pct), y(item.accuracy.low)) for item in reversed(items)]
    line = [(x(item.answered_pct), y(item.accuracy.pct)) for item in items]
    step = (100 - low) / 5
    ticks = tuple(
        (y(low + step * index), format_number(low + step * index, 0 if step >= 1 else 1))
        for index in range(6)
    )
    described = ", ".join(
        f"{format_pct(item.accuracy.pct)} at {item.answered_pct:g} %" for item in items
    )
    return AnsweredPlot(
        ticks, _points(line), _points([*upper, *lower]), f"Accuracy by share answered: {described}."
    )


def _points(pairs: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _proportion(value: Proportion) -> str:
    return f"{format_pct(value.pct)} {format_interval(Interval(value.low, value.high))}"
