"""Section of a page about what a model does not know: prediction sets, unanswered images, images
of other things. Free of torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnetlab.reports.document import Cell, Detail, Table, number_columns
from resnetlab.reports.format import format_interval, format_number, format_pct
from resnetlab.stats.intervals import Interval
from resnetlab.translation import localize_number, tr, tr_count

if TYPE_CHECKING:
    from resnetlab.deploy.results import ModelEvaluation, SetScores
    from resnetlab.stats.proportion import Proportion

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


def confidence_details(result: ModelEvaluation) -> tuple[Detail, ...]:
    """Return sentences about the prediction sets and the answer none of these."""
    return tuple(_details(result))


def _details(result: ModelEvaluation) -> Iterator[Detail]:
    if sets := result.sets:
        yield Detail(tr("Prediction sets"), _describe_sets(sets))
        if sets.classes:
            name, lowest = min(sets.classes, key=lambda item: (item[1].pct, item[0]))
            yield Detail(
                tr("Lowest coverage of a class"),
                tr("{label}: {value}", label=name, value=_proportion(lowest)),
            )
    if novelty := result.novelty:
        yield Detail(
            tr("None of these, by mistake"),
            tr(
                "{proportion} of these images are called none of these. The threshold is to keep "
                "{share:g} % of the images of the classes.",
                proportion=_proportion(novelty.known_rejected),
                share=novelty.known_share_pct,
            ),
        )
        if others := novelty.ood:
            yield Detail(
                tr("Images of other things ({name})", name=others.name),
                tr(
                    "{proportion} of {images} are called none of these. ROC-AUC {roc_auc:.3f}: the "
                    "probability that such an image has a higher novelty than one of the classes.",
                    proportion=_proportion(others.rejected),
                    images=tr_count(others.rejected.images, "image"),
                    roc_auc=others.roc_auc,
                ),
            )


def _describe_sets(sets: SetScores) -> str:
    size = format_number(sets.mean_size, 2)
    if sets.mean_size_low is not None and sets.mean_size_high is not None:
        size += f" {format_interval(Interval(sets.mean_size_low, sets.mean_size_high), 2)}"
    thresholds = tr("All classes share one threshold.")
    if sets.class_thresholds:
        count = tr_count(sets.class_thresholds, "class")
        thresholds = tr(
            "{classes} have enough validation images for a separate threshold.", classes=count
        )
        if sets.class_thresholds == 1:
            thresholds = tr(
                "{classes} has enough validation images for a separate threshold.", classes=count
            )
    return tr(
        "Stated coverage {coverage:g} %; measured: {proportion} of the sets contain the "
        "right class. A set has {size} classes on average; {single} have one class and {empty} "
        "are empty, because no class is probable enough. {thresholds}",
        coverage=sets.coverage_pct,
        proportion=_proportion(sets.covered),
        size=size,
        single=format_pct(sets.single.pct),
        empty=format_pct(sets.empty.pct),
        thresholds=thresholds,
    )


def answered_table(result: ModelEvaluation) -> Table:
    """Return the table of the accuracy by the share that is answered."""
    columns = number_columns("Share of the images", "Accuracy", "Images", "Lowest probability")
    rows = tuple(
        (
            Cell(tr("{share:g} % answered", share=item.answered_pct)),
            Cell(
                format_pct(item.accuracy.pct),
                format_interval(Interval(item.accuracy.low, item.accuracy.high)),
            ),
            Cell(localize_number(f"{item.accuracy.images:,}")),
            Cell(format_number(item.min_probability, 3)),
        )
        for item in result.answered
        if item.answered_pct in TABLE_SHARES
    )
    note = tr(
        "The images with the highest probability of a class are answered, and the others get "
        "no answer. A limit for predict --min-probability is the lowest probability of a row."
    )
    return Table("answered", columns, rows, note)


def answered_plot(result: ModelEvaluation) -> AnsweredPlot | None:
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
        tr(
            "{accuracy} at {share:g} %",
            accuracy=format_pct(item.accuracy.pct),
            share=item.answered_pct,
        )
        for item in items
    )
    return AnsweredPlot(
        ticks,
        _points(line),
        _points([*upper, *lower]),
        tr("Accuracy by share answered: {described}.", described=described),
    )


def _points(pairs: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _proportion(value: Proportion) -> str:
    return f"{format_pct(value.pct)} {format_interval(Interval(value.low, value.high))}"
