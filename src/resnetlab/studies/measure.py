"""Measured quantity of a study: its name, unit and better direction. Free of torch."""

from __future__ import annotations

import math
from typing import Literal

from resnetlab.schema import strict_dataclass
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, UNBOUNDED, Interval

Unit = Literal["%", ""]
"""Unit of a measure: percent, from 0 to 100, or a plain number without limits."""


@strict_dataclass
class Measure:
    """Measured quantity of runs, with its unit and its better direction."""

    name: str = "test accuracy"
    """Name of the quantity, as sentences use it."""
    unit: Unit = "%"
    """Unit of the values: `%`, or empty for plain numbers such as a loss."""
    higher_is_better: bool = True
    """False for an error or a loss."""
    chance: float | None = None
    """Value of a constant guess; None if it is unknown."""

    @property
    def value_range(self) -> Interval:
        """Range of possible values."""
        return ACCURACY_RANGE_PCT if self.unit == "%" else UNBOUNDED

    @property
    def known_chance(self) -> float:
        """Value of a constant guess, or NaN if it is unknown."""
        return math.nan if self.chance is None else self.chance

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1: the factor that makes a score of a value."""
        return 1 if self.higher_is_better else -1


TEST_ACCURACY = Measure()
"""Measure of the studies of resnetlab."""
