"""Prediction intervals that compare a published number with measured runs.

The result is a badge (compatible or incompatible), never a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from resnetlab.stats.contrasts import Effect, contrast, satterthwaite_effect, welch
from resnetlab.stats.intervals import Interval, t_quantile, variance
from resnetlab.stats.power import bisect_increasing

CompatibilityBadge = Literal["compatible", "incompatible"]


@dataclass(frozen=True)
class ReportedResult:
    """Published number: the mean or best of `runs` runs of a source (1 if it does not say).

    The source printed it to +- `half_width`. `values` are its single runs, if it gives them.
    """

    value: float
    runs: int = 1
    is_best: bool = False
    half_width: float = 0.0
    values: tuple[float, ...] = ()
    independent: bool = True
    """False if its runs share weights or optimizer states: a badge and a plot, but no test."""


@cache
def expected_maximum(m: int) -> float:
    """Return the mean of the largest of m normal values: .846 (m = 3), 1.163 (5), 1.539 (10)."""
    import numpy as np
    from scipy.special import ndtr

    x = np.linspace(-12, 12, 4801)
    density = m * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * ndtr(x) ** (m - 1) * (x[1] - x[0])
    return float(np.sum(x * density))


@cache
def maximum_prediction_half_width(n: int, m: int, confidence: float) -> float:
    """Return half the width of the prediction interval of the largest of m values.

    The interval is centered at the expected largest value; the unit is the standard deviation s of
    n observed values. If all values are normal, the distribution of (largest - mean) / s depends
    only on n and m, as Student's t depends on n. It is integrated over the mean (Gauss-Hermite) and
    over log s (trapezoids) to about ten digits. For m = 1 the result is t sqrt(1 + 1 / n).
    """
    import numpy as np
    from scipy.special import ndtr

    nu, width = n - 1, (n - 1) ** -0.5
    log_s = np.linspace(-25 / nu - 5 * width, 4 * width, 401)[:, None]
    z, weights = np.polynomial.hermite_e.hermegauss(40)
    log_chi = nu * (log_s - np.exp(2 * log_s) / 2)
    density = np.exp(log_chi - log_chi.max()) * weights
    density /= density.sum()
    shift, means, s = expected_maximum(m), z / math.sqrt(n), np.exp(log_s)

    def inside(half: float) -> float:
        ends = (ndtr(means + (shift + sign * half) * s) ** m for sign in (1, -1))
        return float(np.sum(density * (next(ends) - next(ends))))

    return bisect_increasing(inside, confidence, 0.0, 1e4)


def prediction_interval(
    arms: Sequence[tuple[Sequence[float], ReportedResult]], confidence: float = 0.95
) -> Interval:
    """Return the prediction interval of a published number, or of a difference of two.

    The published number falls into it with probability `confidence` if nothing differs. The
    interval is mean +- [t s sqrt(1 / n + 1 / m) + r] (Spence and Stanley 2016), where s is the
    standard deviation of the n runs here, m is the number of runs behind the published value, and r
    is its rounding. For the best of m runs the center is shifted by the expected excess c s, and
    `maximum_prediction_half_width` replaces t sqrt(1 / n + 1 / m). Raises ValueError if an
    arm has fewer than 2 runs.
    """
    d = contrast([values for values, _ in arms], (1, -1)[: len(arms)]).estimate
    parts = []
    rounding = 0.0
    for sign, (values, source) in zip((1, -1), arms, strict=False):
        n, s2 = len(values), variance(values)
        scale = 1 / n + 1 / (source.runs if source.independent else 1)
        if source.is_best:
            d += sign * expected_maximum(source.runs) * math.sqrt(s2)
            t = t_quantile((1 + confidence) / 2, n - 1)
            scale = (maximum_prediction_half_width(n, source.runs, confidence) / t) ** 2
        parts.append((s2 * scale, n))
        rounding += source.half_width
    low, high = satterthwaite_effect(d, parts).interval(confidence)
    return Interval(low - rounding, high + rounding)


def compare_with_reported(
    values: Sequence[float], reported: ReportedResult
) -> tuple[CompatibilityBadge, Interval, Effect | None]:
    """Return badge, prediction interval, and Welch's difference of independent runs.

    The difference then decides the badge: it is compatible if 0 lies within the 95 % interval of
    the difference.
    """
    interval = prediction_interval([(values, reported)])
    effect = (
        welch(values, reported.values)
        if reported.independent and len(reported.values) > 1
        else None
    )
    low, high = effect.interval() if effect else interval
    inside = low <= (0.0 if effect else reported.value) <= high
    return ("compatible" if inside else "incompatible"), interval, effect
