"""How many seeds decide, and what so many seeds can decide. Two arms of n runs each unless said otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from resnetlab.stats.contrasts import Effect
from resnetlab.stats.intervals import t_quantile

ALPHA = 0.05
MOST_SEEDS = 50
"""A forecast beyond it is not affordable."""


class Forecast(NamedTuple):
    """Seeds an arm that decide with 80 % power: the estimate and its range; None beyond 50."""

    low: int | None
    about: int | None
    high: int | None


def forecast(effect: Effect, sizes: Sequence[int], edges: Sequence[float], alpha: float = ALPHA) -> Forecast:
    """Seeds an arm for 80 % power at the effect seen: n = 2 ((t_{1 - alpha / 2} + t_{.8}) s / Delta)^2 for two arms.

    Delta is the distance from d to the nearest of the claim's `edges`, s the standard deviation of a run; the range
    comes from its 95 % chi-square interval. Generally 2 s^2 is n se^2, with n the harmonic mean of the arms' `sizes`.
    """
    from scipy.special import chdtri

    nu = effect.nu or 1.0
    spread = effect.se * math.sqrt(len(sizes) / sum(1 / n for n in sizes))  # at one run an arm
    delta = min(abs(effect.d - edge) for edge in edges if math.isfinite(edge))
    narrow, wide = (spread * math.sqrt(nu / float(chdtri(nu, tail))) for tail in (0.025, 0.975))
    least = min(sizes) + 1  # what is there did not decide
    return Forecast(*(_seeds(it, delta, alpha, least, len(sizes)) for it in (narrow, spread, wide)))


def _seeds(spread: float, delta: float, alpha: float, least: int, arms: int) -> int | None:
    for n in range(least, MOST_SEEDS + 1):
        both = t_quantile(1 - alpha / 2, arms * (n - 1)) + t_quantile(0.8, arms * (n - 1))
        if n * delta**2 >= (both * spread) ** 2:
            return n
    return None


def first_enough(enough: Callable[[int], bool], least: int) -> Forecast:
    """The fewest seeds an arm, from `least` on, of which a statement without a range is true."""
    return Forecast(*[next((n for n in range(least, MOST_SEEDS + 1) if enough(n)), None)] * 3)


def race_seeds(beats: float, alpha: float, least: int) -> Forecast:
    """Seeds an arm for 80 % power of a rank test, n = (z_{1 - alpha / 2} + z_{.8})^2 / (6 (P - 1 / 2)^2), where a run
    of one arm beats one of the other with probability P = `beats` (Noether 1987)."""
    from scipy.special import ndtri

    both = float(ndtri(1 - alpha / 2) + ndtri(0.8))
    return first_enough(lambda n: 6 * n * (beats - 0.5) ** 2 >= both**2, least)


def smallest_margin(runs: int, variances: Sequence[float] = (1.0, 1.0)) -> float:
    """The least margin that n runs an arm can confirm: half the interval's width, met by the very size claimed.

    `variances` are those of a run of each arm, times the square of its weight in the effect.
    """
    total = math.fsum(variances)
    nu = (runs - 1) / math.fsum((share / total) ** 2 for share in variances)  # Satterthwaite's, as in `compare`
    return t_quantile(1 - ALPHA / 2, nu) * math.sqrt(total / runs)


def power(effect: float, runs: float, sd: float = 1.0) -> float:
    """How often n runs an arm tell that difference from none, by the noncentral t (Cohen 1988)."""
    from scipy.special import nctdtr

    nu, shift = 2 * (runs - 1), effect / sd * math.sqrt(runs / 2)
    ends = (t := t_quantile(1 - ALPHA / 2, nu), -t)
    inside, wrong = (0.0 if math.isnan(p := nctdtr(nu, shift, end)) else p for end in ends)  # NaN: no tail left
    return float(1 - inside + wrong)


def smallest_effect(runs: int, sd: float = 1.0, chance: float = 0.8) -> float:
    """The difference that n runs an arm, at least 2, find with that power."""
    return sd * crossing(lambda effect: power(effect, runs), chance, 0.0, 100.0)


def runs_for(effect: float, sd: float = 1.0, chance: float = 0.8) -> float:
    """Runs an arm, as a real number, at which a difference is found with that power; inf beyond ten thousand."""
    if power(effect, 10_000, sd) <= chance:
        return math.inf
    return crossing(lambda n: power(effect, n, sd), chance, 1.01, 10_000)


def crossing(rising: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Where a rising function reaches a level between `low` and `high`, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return high
