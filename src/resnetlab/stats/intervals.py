"""Confidence intervals and summaries of one condition that stay valid with few seeds.

With 3 to 10 runs the t-interval covers 95 %, while bootstrap intervals cover only 70 to 90 % (our
simulations; Bouthillier et al. 2021 give the same advice).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from resnetlab.stats.distributions import special
from resnetlab.stats.outcomes import Outcome, OutcomeCounts, count_outcomes


class Interval(NamedTuple):
    """Interval from `low` to `high`."""

    low: float
    high: float


UNBOUNDED = Interval(-math.inf, math.inf)


def mean(values: Sequence[float]) -> float:
    """Return the correctly rounded mean, in any order; that of a constant is the constant."""
    return statistics.mean([float(value) for value in values])


def variance(values: Sequence[float]) -> float:
    """Return the sample variance (divisor n - 1) of at least 2 values; exactly 0 if equal."""
    return statistics.variance([float(value) for value in values])


def t_quantile(p: float, df: float) -> float:
    """Return the `p` quantile of Student's t distribution with `df` degrees of freedom."""
    return float(special().stdtrit(df, p))


@dataclass(frozen=True)
class Moments:
    """Number, mean and standard deviation (divisor n - 1) of values that are not known singly."""

    n: int
    mean: float
    sd: float

    def __len__(self) -> int:
        return self.n


Sample = Sequence[float] | Moments
"""Values of the runs of a condition, or their number, mean and standard deviation."""


def sample_mean(sample: Sample) -> float:
    """Return the mean of a sample."""
    return sample.mean if isinstance(sample, Moments) else mean(sample)


def sample_variance(sample: Sample) -> float:
    """Return the variance (divisor n - 1) of a sample of at least 2 values."""
    return sample.sd**2 if isinstance(sample, Moments) else variance(sample)


def variance_of_mean(values: Sample, overlap: float = 0.0) -> float:
    """Return the estimated variance of the mean of at least 2 values: s^2 (1 / n + overlap).

    The models of two folds of a cross-validation share most of their train images, so their values
    vary together, and s^2 / n is too small. `overlap` is then the ratio of test to train images, 1
    / (K - 1) for K folds: the corrected resampled t-test of Nadeau and Bengio (2003), "Inference
    for the generalization error". It is 0 for independent runs.
    """
    return sample_variance(values) / len(values) + overlap * sample_variance(values)


def t_interval(values: Sample, confidence: float = 0.95, overlap: float = 0.0) -> Interval | None:
    """Return Student's t-interval of the mean, or None for fewer than 2 values.

    `overlap` is that of `variance_of_mean`, for the folds of a cross-validation.
    """
    n = len(values)
    if n < 2:
        return None
    spread = math.sqrt(variance_of_mean(values, overlap))
    half = t_quantile((1 + confidence) / 2, n - 1) * spread
    return Interval(sample_mean(values) - half, sample_mean(values) + half)


def corrected_resampled_interval(
    values: Sequence[float], test_images: int, train_images: int, confidence: float = 0.95
) -> Interval | None:
    """Return an interval of the mean over folds, or None for fewer than 2 values.

    Its variance is that of `variance_of_mean`, with the ratio of test to train images.
    """
    return t_interval(values, confidence, test_images / train_images)


def within_range(interval: Interval | None, value_range: Interval) -> Interval | None:
    """Return the interval cut at the ends of the range of possible values.

    A mean cannot lie outside this range, so the interval covers it as often as before.
    """
    return None if interval is None else clip(interval, value_range)


def clip(interval: Interval, value_range: Interval) -> Interval:
    """Return the part of an interval within a range, or the nearer end of the range."""
    low, high = value_range
    return Interval(min(max(interval.low, low), high), max(min(interval.high, high), low))


def clopper_pearson(successes: int, runs: int, confidence: float = 0.95) -> Interval:
    """Return the exact interval of a success rate from 0 to 1 (Clopper and Pearson 1934).

    Decisions use this interval because its coverage is guaranteed.
    """
    tail = (1 - confidence) / 2
    low = (
        float(special().betaincinv(successes, runs - successes + 1, tail)) if successes > 0 else 0.0
    )
    high = (
        float(special().betaincinv(successes + 1, runs - successes, 1 - tail))
        if successes < runs
        else 1.0
    )
    return Interval(low, high)


def wilson(successes: int, runs: int, confidence: float = 0.95) -> Interval:
    """Return the score interval of a success rate (Wilson 1927); [0, 1] without runs.

    Reports print this interval; decisions use `clopper_pearson`.
    """
    if runs == 0:
        return Interval(0.0, 1.0)
    z2 = float(special().ndtri((1 + confidence) / 2)) ** 2
    rate = successes / runs
    center = (rate + z2 / (2 * runs)) / (1 + z2 / runs)
    half = math.sqrt(z2 * (rate * (1 - rate) / runs + z2 / (4 * runs**2))) / (1 + z2 / runs)
    low = 0.0 if successes == 0 else center - half
    high = 1.0 if successes == runs else center + half
    return Interval(max(0.0, low), min(1.0, high))


ACCURACY_RANGE_PCT = Interval(0.0, 100.0)
"""Range of an accuracy in percent."""

POINTS_RANGE = Interval(-100.0, 100.0)
"""Range of a difference of two accuracies in points."""


def hurdle_interval(
    trained: Sequence[float],
    runs: int,
    chance: float,
    unknown_runs: int = 0,
    value_range: Interval = ACCURACY_RANGE_PCT,
    overlap: float = 0.0,
) -> Interval:
    """Return the 95 % interval of the mean over all runs if some runs did not learn.

    A run is trained with probability pi; otherwise it stays at chance: mu = c + pi (mu_trained -
    c). A 97.5 % exact interval of pi and a 97.5 % t-interval of mu_trained together cover 95 %
    (Bonferroni). With fewer than 2 trained runs nothing is known about mu_trained, and the
    interval is the full range.

    Args:
        trained: Values of the trained runs, by default accuracies in percent.
        runs: Number of all runs.
        chance: Value of a constant guess; NaN if it is unknown, which gives the full range.
        unknown_runs: Number of those runs whose outcome is not known.
        value_range: Range of possible values.
        overlap: Ratio of test to train images of `variance_of_mean`, if the runs are folds.
    """
    inner = t_interval(trained, 0.975, overlap)
    if inner is None or math.isnan(chance):
        return value_range
    a = clopper_pearson(len(trained), runs, 0.975).low
    b = clopper_pearson(len(trained) + unknown_runs, runs, 0.975).high
    down, up = inner.low - chance, inner.high - chance
    low = chance + min(a * down, b * down)
    high = chance + max(a * up, b * up)
    return Interval(max(value_range.low, low), min(value_range.high, high))


@dataclass(frozen=True)
class ConditionSummary:
    """Summary statistics of a condition: accuracies in percent, rates from 0 to 1.

    A diverged run counts with the accuracy of a guess. Runs out of memory and missing runs have no
    accuracy, but they stay in every denominator. While runs are missing, the interval of the
    success rate covers both cases: they are trained, or they are not. For imported runs the values
    are those of their measure, whatever its unit.
    """

    counts: OutcomeCounts
    chance_pct: float
    """Accuracy of a constant guess; NaN if it is unknown."""
    trained_pct: tuple[float, ...]
    mean_pct: float | None
    """Mean of the trained runs.

    They also give `sd_pct` (divisor n - 1) and `interval_pct` (95 %, Student's t, cut at 0 and
    100 %).
    """
    sd_pct: float | None
    interval_pct: Interval | None
    success_wilson: Interval
    """Wilson interval of the share of ended runs that trained."""
    all_mean_pct: float | None
    """Mean of the trained, at chance and diverged runs."""
    all_range_pct: Interval | None
    """Accuracies of the lowest and the highest run."""
    all_interval_pct: Interval | None
    all_rule: Literal["t", "hurdle", "whole range", "none"]
    """Method of `all_interval_pct`; `t` only if all runs ended with the same outcome."""


def summarize(
    runs: Sequence[tuple[Outcome, float | None]],
    chance_pct: float,
    value_range: Interval = ACCURACY_RANGE_PCT,
    overlap: float = 0.0,
) -> ConditionSummary:
    """Summarize a condition's planned runs. The result does not depend on their order.

    Args:
        runs: Outcome and value of each run, by default its test accuracy in percent.
        chance_pct: Value of the best constant guess; NaN if it is unknown.
        value_range: Range of possible values.
        overlap: Ratio of test to train images of `variance_of_mean`, if the runs are folds.
    """
    counts = count_outcomes(outcome for outcome, _ in runs)
    trained = tuple(sorted(x for outcome, x in runs if outcome == "trained" and x is not None))
    at_chance = [x for outcome, x in runs if outcome == "at chance" and x is not None]
    accuracies = tuple(sorted([*trained, *at_chance, *[chance_pct] * counts.diverged]))
    if math.isnan(chance_pct) and counts.trained < counts.ended:
        accuracies = ()  # the value of a failed run is unknown
    interval, rule = _interval_over_all_runs(
        counts, trained, accuracies, chance_pct, value_range, overlap
    )
    reachable = wilson(counts.trained + counts.missing, counts.ended)
    return ConditionSummary(
        counts=counts,
        chance_pct=chance_pct,
        trained_pct=trained,
        mean_pct=mean(trained) if trained else None,
        sd_pct=math.sqrt(variance(trained)) if len(trained) > 1 else None,
        interval_pct=within_range(t_interval(trained, overlap=overlap), value_range),
        success_wilson=Interval(wilson(counts.trained, counts.ended).low, reachable.high),
        all_mean_pct=mean(accuracies) if accuracies else None,
        all_range_pct=Interval(accuracies[0], accuracies[-1]) if accuracies else None,
        all_interval_pct=interval,
        all_rule=rule,
    )


def _interval_over_all_runs(
    counts: OutcomeCounts,
    trained: Sequence[float],
    accuracies: Sequence[float],
    chance_pct: float,
    value_range: Interval,
    overlap: float,
) -> tuple[Interval | None, Literal["t", "hurdle", "whole range", "none"]]:
    if not accuracies or not counts.is_complete or counts.out_of_memory:
        return None, "none"
    if counts.ended in (counts.trained, counts.at_chance, counts.diverged):
        interval = within_range(t_interval(accuracies, overlap=overlap), value_range)
        return interval, "t" if interval else "none"
    rule: Literal["hurdle", "whole range"] = "hurdle" if len(trained) > 1 else "whole range"
    return hurdle_interval(
        trained, counts.ended, chance_pct, counts.missing, value_range, overlap
    ), rule
