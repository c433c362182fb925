"""Published numbers by the depth of their networks: series for a figure, and a sentence for each.

Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from resnetlab.models.parse import parse_model
from resnetlab.studies.published.references import ReferenceValue
from resnetlab.studies.study import Study


@dataclass(frozen=True)
class DepthSeries:
    """Published numbers of one quantity, for networks that differ in depth."""

    label: str
    """Kind of the networks, split and source: `residual (A), test, He et al. 2016, table 6`."""
    quantity: str
    """Quantity with its unit: `error, %`."""
    points: tuple[tuple[int, float], ...]
    """Number of weighted layers and value, by depth."""


def depth_series(study: Study) -> tuple[DepthSeries, ...]:
    """Return the series of a study's published numbers that have more than one depth.

    Of several numbers for one depth the mean of the most runs stands in the series.
    """
    series_values: dict[tuple[str, str], dict[int, ReferenceValue]] = {}
    for reference in (*study.references, *study.unmatched_references):
        value = reference.value
        if value.value is None or not value.models or value.quantity == "multiply-adds":
            continue
        model = parse_model(value.models[0], value.label)
        depth, shortcut = getattr(model, "depth", None), getattr(model, "shortcut", "none")
        if depth is None:
            continue
        kind = "plain" if shortcut == "none" else f"residual ({shortcut})"
        unit = "nats" if value.quantity == "loss" else "%"
        label = f"{model.family} {kind}, {value.split}, {reference.title}"
        by_depth = series_values.setdefault((f"{value.quantity}, {unit}", label), {})
        if depth not in by_depth or _rank(value) > _rank(by_depth[depth]):
            by_depth[depth] = value
    return tuple(
        DepthSeries(
            label,
            quantity,
            tuple((depth, value.value or 0.0) for depth, value in sorted(values.items())),
        )
        for (quantity, label), values in series_values.items()
        if len(values) > 1
    )


def _rank(value: ReferenceValue) -> tuple[bool, int]:
    return value.statistic == "mean", value.num_runs


def depth_sentences(series: tuple[DepthSeries, ...]) -> list[str]:
    """Return a sentence for each series: its first and last depth, and its best one."""
    lines = []
    for item in series:
        quantity, unit = item.quantity.split(", ")
        sign = 1 if quantity == "accuracy" else -1
        best = max(item.points, key=lambda point: sign * point[1])
        first, last = item.points[0], item.points[-1]
        text = (
            f"Published {quantity} of {item.label}: {first[1]:g} {unit} with {first[0]} "
            f"layers, {last[1]:g} {unit} with {last[0]:,}"
        )
        if best in (first, last):
            where = f"the {'deepest' if best == last else 'shallowest'} has the best number"
        else:
            where = f"the best number is {best[1]:g} {unit} with {best[0]}"
        lines.append(f"{text}; {where}.")
    if lines:
        lines.append("An order of published numbers is no test: their runs vary too.")
    return lines
