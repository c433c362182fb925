"""Effect estimates with standard errors: contrasts of means, paired differences, ratios of means.

Welch's t is the contrast of two arms. Variances are never pooled. This module computes effects; it
tests no claim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from resnetlab.stats.distributions import special
from resnetlab.stats.intervals import (
    ACCURACY_RANGE_PCT,
    UNBOUNDED,
    Interval,
    Sample,
    clip,
    sample_mean,
    sample_variance,
    t_quantile,
    variance_of_mean,
)


@dataclass(frozen=True)
class Effect:
    """Effect estimate with standard error `se` and `df` degrees of freedom.

    Constant arms have no error: `se` is 0, `df` is None, and the effect is `is_deterministic`.
    """

    estimate: float
    se: float
    df: float | None
    value_range: Interval = field(default=UNBOUNDED, compare=False)
    """Range of possible effects, at whose ends the interval is cut."""

    @property
    def is_deterministic(self) -> bool:
        """True if all arms are constant, so that the effect has no standard error."""
        return self.df is None

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the confidence interval of the effect; it is a point if the effect is
        deterministic. It is cut at the ends of the range of possible effects.
        """
        half = 0.0 if self.df is None else t_quantile((1 + confidence) / 2, self.df) * self.se
        return clip(Interval(self.estimate - half, self.estimate + half), self.value_range)

    @property
    def two_sided_p(self) -> float:
        """P-value of the null hypothesis that the effect is zero."""
        return min(1.0, 2 * min(self.p_above(0), self.p_below(0)))

    def p_below(self, value: float) -> float:
        """Return F((d - value) / se), F Student's cdf: small if clearly below `value`."""
        if self.df is None:
            return float(self.estimate > value) + 0.5 * float(self.estimate == value)
        return float(special().stdtr(self.df, (self.estimate - value) / self.se))

    def p_above(self, value: float) -> float:
        """Return 1 - F((d - value) / se). It is small if the effect is clearly above `value`."""
        if self.df is None:
            return 1 - self.p_below(value)
        return float(
            special().stdtr(self.df, (value - self.estimate) / self.se)
        )  # 1 - F would round small p to 0


def contrast(arms: Sequence[Sample], weights: Sequence[float], overlap: float = 0.0) -> Effect:
    """Return the weighted sum of the arms' means, with `weights` as factors.

    `overlap` is that of `variance_of_mean`, for the folds of a cross-validation. Raises ValueError
    if an arm with a nonzero weight has fewer than 2 values.
    """
    used = [(c, arm) for c, arm in zip(weights, arms, strict=True) if c]
    if min(len(arm) for _, arm in used) < 2:
        raise ValueError("Welch's test needs 2 runs per arm")
    d = math.fsum(c * sample_mean(arm) for c, arm in used)
    return satterthwaite_effect(
        d, [(c * c * variance_of_mean(arm, overlap), len(arm)) for c, arm in used]
    )


def welch(a: Sequence[float], b: Sequence[float]) -> Effect:
    """Return the mean of `a` minus the mean of `b`, with unequal variances (Welch 1947).

    Raises ValueError if one of them has fewer than 2 values.
    """
    return contrast((a, b), (1, -1))


def accuracy_difference(a: Sequence[float], b: Sequence[float]) -> Effect:
    """Return `welch` of accuracies in percent. Its interval lies between -100 and 100 points."""
    return replace(welch(a, b), value_range=contrast_range([ACCURACY_RANGE_PCT] * 2, (1, -1)))


def contrast_range(arms: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """Return the range of a contrast whose arms lie in the intervals `arms`."""
    used = [(c * arm.low, c * arm.high) for c, arm in zip(weights, arms, strict=True) if c]
    return Interval(math.fsum(map(min, used)), math.fsum(map(max, used)))


def paired_difference(differences: Sequence[float], overlap: float = 0.0) -> Effect:
    """Return the mean of the differences within pairs. Raises ValueError below 2 pairs.

    With the `overlap` of the folds of a cross-validation, it is the corrected resampled t-test.
    """
    return contrast((differences,), (1,), overlap)


def relative_difference(
    arms: Sequence[Sample], ratios: Sequence[tuple[int, int]] = ((0, 1),)
) -> Effect:
    """Return the mean relative difference of pairs of arms in percent.

    It is the mean of 100 (a - b) / |b| over `ratios`. By the delta method its variance is the sum
    of g^2 s^2 / n over the arms, where g is the derivative of the effect by the mean of the arm. An
    arm of several ratios has one derivative, the sum of theirs, because its runs are the same in
    all of them.

    Args:
        arms: Samples, each once.
        ratios: Positions of the left arm and of the right arm of each pair.

    Raises:
        ValueError: The mean of a right arm is 0.
    """
    scale = 100 / len(ratios)
    means = [sample_mean(arm) for arm in arms]
    estimate, derivatives = 0.0, [0.0] * len(arms)
    for left, right in ratios:
        a, b = means[left], means[right]
        if b == 0:
            raise ValueError("nothing is a percentage of 0")
        estimate += scale * (a - b) / abs(b)
        derivatives[left] += scale / abs(b)
        derivatives[right] -= scale * a / (b * abs(b))
    return satterthwaite_effect(
        estimate,
        [
            (derivative**2 * sample_variance(arm) / len(arm), len(arm))
            for derivative, arm in zip(derivatives, arms, strict=True)
        ],
    )


def satterthwaite_effect(estimate: float, variance_terms: Sequence[tuple[float, int]]) -> Effect:
    """Return the effect whose variance is the sum of `variance_terms` (Satterthwaite 1946).

    Each term is a variance and the number of runs that it was estimated from.
    """
    total = math.fsum(share for share, _ in variance_terms)
    if total == 0:
        return Effect(estimate, 0.0, None)
    # Shares of the total are squared because squares of tiny variances would underflow.
    nu = 1 / math.fsum((share / total) ** 2 / (n - 1) for share, n in variance_terms)
    return Effect(estimate, math.sqrt(total), nu)
