"""Percentage of images with its exact interval. Free of torch."""

from __future__ import annotations

from resnetlab.schema import strict_dataclass
from resnetlab.stats.intervals import clopper_pearson


@strict_dataclass
class Proportion:
    """Percentage of `images` with a property, with its Clopper-Pearson 95 % interval."""

    count: int
    images: int
    pct: float
    low: float
    """Lower end of the interval in percent."""
    high: float


def proportion(count: int, images: int) -> Proportion:
    """Return a percentage with its Clopper-Pearson 95 % interval."""
    low, high = clopper_pearson(count, images)
    return Proportion(
        count=count, images=images, pct=100 * count / images, low=100 * low, high=100 * high
    )
