"""Power analysis: required seeds and detectable effects, for two arms of n runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from resnetlab.stats.contrasts import Effect
from resnetlab.stats.distributions import special
from resnetlab.stats.intervals import t_quantile

ALPHA = 0.05
MAX_SEEDS = 50
"""Largest number of seeds per condition for which a forecast is computed."""


class SeedForecast(NamedTuple):
    """Seeds per arm for 80 % power: the estimate and its range; None is more than 50."""

    low: int | None
    estimate: int | None
    high: int | None


def forecast_seeds(
    effect: Effect, arm_sizes: Sequence[int], region_bounds: Sequence[float], alpha: float = ALPHA
) -> SeedForecast:
    """Return the seeds per arm that give 80 % power if the observed effect is the true one.

    For two arms n = 2 ((t_{1 - alpha / 2} + t_{.8}) s / Delta)^2. Delta is the distance from the
    effect to the nearest of the claim's `region_bounds`, and s is the standard deviation of a run;
    the range comes from its 95 % chi-square interval. In general 2 s^2 is n se^2, where n is the
    harmonic mean of `arm_sizes`.
    """
    nu = effect.df or 1.0
    run_se = effect.se * math.sqrt(
        len(arm_sizes) / sum(1 / n for n in arm_sizes)
    )  # standard error with one run per arm
    delta = min(abs(effect.estimate - edge) for edge in region_bounds if math.isfinite(edge))
    narrow, wide = (
        run_se * math.sqrt(nu / float(special().chdtri(nu, tail))) for tail in (0.025, 0.975)
    )
    min_runs = min(arm_sizes) + 1  # the present seeds did not decide
    return SeedForecast(
        *(
            required_seeds(scale, delta, alpha, min_runs, len(arm_sizes))
            for scale in (narrow, run_se, wide)
        )
    )


def required_seeds(
    run_se: float,
    delta: float,
    alpha: float = ALPHA,
    min_runs: int = 2,
    arms: int = 2,
    max_seeds: int = MAX_SEEDS,
) -> int | None:
    """Return the seeds per arm, from `min_runs` on, that give 80 % power for a distance `delta`.

    `run_se` is the standard error of the effect with one run per arm. None is more than
    `max_seeds`.
    """
    for n in range(min_runs, max_seeds + 1):
        quantiles = t_quantile(1 - alpha / 2, arms * (n - 1)) + t_quantile(0.8, arms * (n - 1))
        if n * delta**2 >= (quantiles * run_se) ** 2:
            return n
    return None


def smallest_sufficient_seeds(is_sufficient: Callable[[int], bool], min_runs: int) -> SeedForecast:
    """Return the smallest number of seeds per arm, from `min_runs` on, that is enough.

    It has no range.
    """
    return SeedForecast(
        *[next((n for n in range(min_runs, MAX_SEEDS + 1) if is_sufficient(n)), None)] * 3
    )


def rank_test_seeds(win_probability: float, alpha: float, min_runs: int) -> SeedForecast:
    """Return the seeds per arm that give a rank test 80 % power (Noether 1987).

    n = (z_{1 - alpha / 2} + z_{.8})^2 / (6 (P - 1 / 2)^2), where a run of one arm beats a run of
    the other with probability P = `win_probability`.
    """
    quantiles = float(special().ndtri(1 - alpha / 2) + special().ndtri(0.8))
    return smallest_sufficient_seeds(
        lambda n: 6 * n * (win_probability - 0.5) ** 2 >= quantiles**2, min_runs
    )


def minimum_confirmable_margin(runs: int, variances: Sequence[float] = (1.0, 1.0)) -> float:
    """Return the smallest margin that `runs` per arm can confirm: the interval's half-width.

    This holds if the true effect is exactly the claimed one. `variances` has one value per arm: the
    variance of a run times the square of the arm's weight in the effect.
    """
    total = math.fsum(variances)
    nu = (runs - 1) / math.fsum(
        (share / total) ** 2 for share in variances
    )  # Satterthwaite's formula, as in `contrasts.satterthwaite_effect`
    return t_quantile(1 - ALPHA / 2, nu) * math.sqrt(total / runs)


def power(effect: float, runs: float, sd: float = 1.0) -> float:
    """Return the power to detect a difference, by the noncentral t (Cohen 1988)."""
    from scipy.special import nctdtr

    nu, shift = 2 * (runs - 1), effect / sd * math.sqrt(runs / 2)
    ends = (t := t_quantile(1 - ALPHA / 2, nu), -t)
    inside, wrong = (
        0.0 if math.isnan(p := nctdtr(nu, shift, end)) else p for end in ends
    )  # NaN means an empty tail
    return float(1 - inside + wrong)


def minimum_detectable_effect(runs: int, sd: float = 1.0, target_power: float = 0.8) -> float:
    """Return the difference that `runs` (at least 2) per arm detect with `target_power`."""
    return sd * bisect_increasing(lambda effect: power(effect, runs), target_power, 0.0, 100.0)


def required_runs(effect: float, sd: float = 1.0, target_power: float = 0.8) -> float:
    """Return the runs per arm that detect a difference with the power `target_power`.

    The result is a real number; it is inf above ten thousand.
    """
    if power(effect, 10_000, sd) <= target_power:
        return math.inf
    return bisect_increasing(lambda n: power(effect, n, sd), target_power, 1.01, 10_000)


def bisect_increasing(
    function: Callable[[float], float], level: float, low: float, high: float
) -> float:
    """Return the point from `low` to `high` where a rising function reaches `level`."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < level else (low, middle)
    return high
