"""Differences of conditions as one estimate with its error: contrasts (Welch's t is that of two arms), pairs, ratios.

An effect is judged nowhere here. Variances are never pooled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resnetlab.stats.intervals import Interval, mean, t_quantile, variance


@dataclass(frozen=True)
class Effect:
    """An estimate `d` with standard error `se` and `nu` degrees of freedom.

    Constant arms have no error to speak of: `se` is 0, `nu` None, and the effect is `deterministic`.
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


def contrast(arms: Sequence[Sequence[float]], weights: Sequence[float]) -> Effect:
    """The sum of c_j times the mean of arm j. At least 2 values an arm whose weight is not 0, or ValueError."""
    used = [(c, arm) for c, arm in zip(weights, arms, strict=True) if c]
    if min(len(arm) for _, arm in used) < 2:
        raise ValueError("Welch's test needs 2 runs an arm")
    d = math.fsum(c * mean(arm) for c, arm in used)
    return combined(d, [(c * c * variance(arm) / len(arm), len(arm)) for c, arm in used])


def welch(a: Sequence[float], b: Sequence[float]) -> Effect:
    """Mean of `a` less mean of `b`, variances apart (Welch 1947). At least 2 values each, or ValueError."""
    return contrast((a, b), (1, -1))


def paired(differences: Sequence[float]) -> Effect:
    """The mean of differences within pairs, of which at least 2."""
    return contrast((differences,), (1,))


def relative(arms: Sequence[Sequence[float]]) -> Effect:
    """By how many percent left is above right: the mean of (a - b) / |b| over pairs of arms left, right, left, ...

    The variance of a ratio r = a / b of means is r^2 (s_a^2 / (n_a a^2) + s_b^2 / (n_b b^2)), by the delta method.
    """
    pairs = list(zip(arms[::2], arms[1::2], strict=True))
    scale = 100 / len(pairs)
    d, parts = 0.0, []
    for left, right in pairs:
        a, b = mean(left), mean(right)
        if b == 0:
            raise ValueError("nothing is a percentage of 0")
        d += scale * (a - b) / abs(b)
        parts.append((scale**2 * variance(left) / len(left) / b**2, len(left)))
        parts.append((scale**2 * variance(right) / len(right) * (a / b**2) ** 2, len(right)))
    return combined(d, parts)


def combined(d: float, parts: Sequence[tuple[float, int]]) -> Effect:
    """An estimate whose variance is the sum of parts, each of a number of runs (Satterthwaite 1946)."""
    whole = math.fsum(share for share, _ in parts)
    if whole == 0:
        return Effect(d, 0.0, None)
    # As shares of the whole: squares of tiny variances would vanish.
    nu = 1 / math.fsum((share / whole) ** 2 / (n - 1) for share, n in parts)
    return Effect(d, math.sqrt(whole), nu)
