"""A published number beside what was measured: is it one that these runs could have given? A badge, never a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from resnetlab.stats.contrasts import Effect, combined, contrast, welch
from resnetlab.stats.intervals import Interval, t_quantile, variance
from resnetlab.stats.power import crossing

Badge = Literal["compatible", "incompatible"]


@dataclass(frozen=True)
class Published:
    """A number of a source: the mean, or the best, of `runs` of its runs (1 if it does not say), printed to
    +- `half_width`. `values` are those runs where the source gives them."""

    value: float
    runs: int = 1
    best: bool = False
    half_width: float = 0.0
    values: tuple[float, ...] = ()
    independent: bool = True
    """False where its runs share initial weights or optimiser states: they are drawn and get a badge, never a test."""


@cache
def best_of(m: int) -> float:
    """Mean of the largest of m standard normal values: .846 (m = 3), 1.163 (5), 1.539 (10)."""
    import numpy as np
    from scipy.special import ndtr

    x = np.linspace(-12, 12, 4801)
    density = m * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * ndtr(x) ** (m - 1) * (x[1] - x[0])
    return float(np.sum(x * density))


@cache
def best_half_width(n: int, m: int, confidence: float) -> float:
    """Half the prediction interval of the largest of m values around its expected place, in sds of n values seen.

    (largest - mean) / s has a distribution that only n and m settle, as Student's t has, where all are normal: it is
    integrated over the mean (Gauss and Hermite) and over log s (trapezoids), to some ten digits. At m = 1 it is
    t sqrt(1 + 1 / n).
    """
    import numpy as np
    from scipy.special import ndtr

    nu, width = n - 1, (n - 1) ** -0.5
    log_s = np.linspace(-25 / nu - 5 * width, 4 * width, 401)[:, None]
    z, weights = np.polynomial.hermite_e.hermegauss(40)
    log_chi = nu * (log_s - np.exp(2 * log_s) / 2)
    density = np.exp(log_chi - log_chi.max()) * weights
    density /= density.sum()
    shift, means, s = best_of(m), z / math.sqrt(n), np.exp(log_s)

    def inside(half: float) -> float:
        ends = (ndtr(means + (shift + sign * half) * s) ** m for sign in (1, -1))
        return float(np.sum(density * (next(ends) - next(ends))))

    return crossing(inside, confidence, 0.0, 1e4)


def prediction(arms: Sequence[tuple[Sequence[float], Published]], confidence: float = 0.95) -> Interval:
    """The interval in which the published number, or the first less the second of two, falls if nothing differs.

    mean +- [t s sqrt(1 / n + 1 / m) + r] (Spence and Stanley 2016): s of the n runs here, m runs behind the published
    value, r its rounding. A best of m is shifted by the expected excess c s, and t sqrt(1 / n + 1 / m) gives way to its
    own constant (`best_half_width`). At least 2 runs an arm, or ValueError.
    """
    d, parts, rounding = contrast([values for values, _ in arms], (1, -1)[: len(arms)]).d, [], 0.0
    for sign, (values, source) in zip((1, -1), arms, strict=False):
        n, s2 = len(values), variance(values)
        scale = 1 / n + 1 / (source.runs if source.independent else 1)
        if source.best:
            d += sign * best_of(source.runs) * math.sqrt(s2)
            t = t_quantile((1 + confidence) / 2, n - 1)
            scale = (best_half_width(n, source.runs, confidence) / t) ** 2
        parts.append((s2 * scale, n))
        rounding += source.half_width
    low, high = combined(d, parts).interval(confidence)
    return Interval(low - rounding, high + rounding)


def against(values: Sequence[float], source: Published) -> tuple[Badge, Interval, Effect | None]:
    """The badge, the prediction interval, and Welch's difference where the source gives independent runs: then it
    decides the badge, which is compatible while 0 is within its 95 % interval."""
    interval = prediction([(values, source)])
    effect = welch(values, source.values) if source.independent and len(source.values) > 1 else None
    low, high = effect.interval() if effect else interval
    inside = low <= (0.0 if effect else source.value) <= high
    return ("compatible" if inside else "incompatible"), interval, effect
