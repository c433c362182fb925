"""The difference of two conditions: Welch's t with its degrees of freedom. Judges nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resnetlab.stats.estimate import Interval, mean, t_quantile, variance


@dataclass(frozen=True)
class Effect:
    """An estimate `d` with standard error `se` and `nu` degrees of freedom.

    Two constant arms have no error to speak of: `se` is 0, `nu` None, and the effect is `deterministic`.
    """

    d: float
    se: float
    nu: float | None

    @property
    def deterministic(self) -> bool:
        return self.nu is None

    def interval(self, confidence: float = 0.95) -> Interval:
        """The confidence interval of the effect; a point where it is deterministic."""
        half = 0.0 if self.nu is None else t_quantile((1 + confidence) / 2, self.nu) * self.se
        return Interval(self.d - half, self.d + half)

    def below(self, value: float) -> float:
        """F((d - value) / se), with F Student's cdf: small when the effect is surely below `value`."""
        from scipy.special import stdtr

        if self.nu is None:
            return float(self.d > value) + 0.5 * float(self.d == value)
        return float(stdtr(self.nu, (self.d - value) / self.se))

    def above(self, value: float) -> float:
        """1 - F((d - value) / se): small when the effect is surely above `value`."""
        from scipy.special import stdtr

        if self.nu is None:
            return 1 - self.below(value)
        return float(stdtr(self.nu, (value - self.d) / self.se))  # not 1 - F, which rounds small p to 0


def welch(a: Sequence[float], b: Sequence[float]) -> Effect:
    """Mean of `a` less mean of `b`, variances apart (Welch 1947). At least 2 values each, or ValueError."""
    if len(a) < 2 or len(b) < 2:
        raise ValueError("Welch's test needs 2 runs an arm")
    share_a, share_b = variance(a) / len(a), variance(b) / len(b)
    d, both = mean(a) - mean(b), share_a + share_b
    if both == 0:
        return Effect(d, 0.0, None)
    # As shares of the whole: squares of tiny variances would vanish.
    nu = 1 / ((share_a / both) ** 2 / (len(a) - 1) + (share_b / both) ** 2 / (len(b) - 1))
    return Effect(d, math.sqrt(both), nu)
