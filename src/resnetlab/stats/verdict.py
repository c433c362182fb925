"""Verdicts on claims, by one rule: a claim is a region for an effect, and the data lie in it, outside, or neither.

With d, se and nu of the effect and F Student's cdf, p_in = max(1 - F((d - lo) / se), F((d - hi) / se)) holds against
"the effect is outside", p_out = min(F((d - lo) / se), 1 - F((d - hi) / se)) against "the effect is inside" (two
one-sided tests, Schuirmann 1987), and p = min(1, 2 min(p_in, p_out)) is corrected over the claims (Holm 1979). Without
a correction that is the same as asking whether the 95 % interval lies in the region, or outside it.

Refuses to judge a study that is not finished, and never drops a run that failed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

from resnetlab.stats.compare import Effect, welch
from resnetlab.stats.estimate import Interval, Summary, hurdle_interval, mean, t_quantile

ALPHA = 0.05
MOST_SEEDS = 50
"""A forecast beyond it is not affordable."""

Word = Literal["reproduced", "contradicted", "inconclusive", "untestable", "waiting"]


class Region(NamedTuple):
    """Where the effect lies if the claim holds: an open interval."""

    low: float
    high: float


GREATER = Region(0.0, math.inf)
"""left is greater than right."""


@dataclass(frozen=True)
class Question:
    """A claim in numbers: the effect is the mean of `left` less that of `right`, both in percent."""

    left: Summary
    right: Summary
    region: Region


class Forecast(NamedTuple):
    """Seeds an arm that decide with 80 % power: the estimate and its range; None beyond 50."""

    low: int | None
    about: int | None
    high: int | None


@dataclass(frozen=True)
class Verdict:
    """How a claim fared. `p` and `p_holm` are None where there is no test or the difference is deterministic."""

    word: Word
    why: str = ""
    """The reason of a verdict that a p-value does not give."""
    conditional: bool = False
    """On convergence: an arm has dead, diverged or missing runs, and converged ones were compared."""
    effect: Effect | None = None
    """Of the converged runs."""
    p: float | None = None
    p_holm: float | None = None
    forecast: Forecast | None = None

    @property
    def qualified(self) -> str:
        """`reproduced (conditional on convergence)`."""
        decided = self.word in ("reproduced", "contradicted")
        return f"{self.word} (conditional on convergence)" if self.conditional and decided else self.word


def region_test(effect: Effect, region: Region) -> tuple[float, float]:
    """p_in and p_out: small p_in says that the effect is inside the region, small p_out that it is outside."""
    p_in = max(effect.above(region.low), effect.below(region.high))
    p_out = min(effect.below(region.low), effect.above(region.high))
    return p_in, p_out


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given (Holm 1979)."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def judge(questions: Sequence[Question], *, finished: bool = True) -> list[Verdict]:
    """The verdict of each claim of a study; `finished` says that every planned run of the study is.

    Every declared claim counts in Holm's correction, one that cannot be tested with p = 1. With fewer than 2 converged
    runs in an arm there is no Welch test, and the runs that failed are no accuracies to test instead: the verdict is
    inconclusive and its reason names the success rates.
    """
    if not finished:
        return [Verdict("waiting", "not judged before the last run of the study") for _ in questions]
    first = [_weigh(question) for question in questions]
    adjusted = holm([trial.p for trial in first])
    return [
        _verdict(question, trial, p, len(questions))
        for question, trial, p in zip(questions, first, adjusted, strict=True)
    ]


class _Trial(NamedTuple):
    """What stands before the correction."""

    direction: Literal["in", "out", "none"]
    p: float
    why: str
    word: Word = "inconclusive"
    effect: Effect | None = None


def _weigh(question: Question) -> _Trial:
    left, right = question.left, question.right
    if left.counts.out_of_memory or right.counts.out_of_memory:
        return _Trial("none", 1.0, "a condition does not fit into this machine's memory", "untestable")
    if min(len(left.converged_pct), len(right.converged_pct)) < 2:
        rates = f"{_rate(left)} against {_rate(right)}"
        return _Trial("none", 1.0, f"too few converged runs for a test of means: {rates} converged")
    effect = welch(left.converged_pct, right.converged_pct)
    trials = [_scenario(question, *fates) for fates in product(_fates(left), _fates(right))]
    worst = max(trials, key=lambda trial: trial.p)
    if any(trial.direction != worst.direction for trial in trials):
        return _Trial("none", 1.0, "missing runs could change the verdict", effect=effect)
    return worst._replace(effect=effect)


def _rate(arm: Summary) -> str:
    return f"{arm.counts.converged} of {arm.counts.finished}"


class _Arm(NamedTuple):
    converged_pct: tuple[float, ...]
    everything: Interval
    """95 % interval of the mean over all runs."""


def _fates(arm: Summary) -> list[_Arm]:
    """The arm with its missing runs taken as dead, and as the mean of the converged ones."""
    runs, there = arm.counts.finished, arm.converged_pct
    fates = [there]
    if arm.counts.missing:
        fates.append((*there, *[mean(there)] * arm.counts.missing))
    return [_Arm(values, hurdle_interval(values, runs, arm.chance_pct)) for values in fates]


def _scenario(question: Question, left: _Arm, right: _Arm) -> _Trial:
    """One fate of the missing runs: Welch over converged runs, unless the means over all runs say otherwise."""
    region = question.region
    effect = welch(left.converged_pct, right.converged_pct)
    p_in, p_out = region_test(effect, region)
    p = min(1.0, 2 * min(p_in, p_out))
    if effect.deterministic and p_in == p_out:
        return _Trial("none", 1.0, "the arms are constant and the difference is on the edge of the claim")
    direction: Literal["in", "out"] = "in" if p_in <= p_out else "out"
    if len(left.converged_pct) < question.left.counts.finished or (
        len(right.converged_pct) < question.right.counts.finished
    ):
        low = left.everything.low - right.everything.high
        high = left.everything.high - right.everything.low
        outside = high <= region.low or low >= region.high
        inside = region.low < low and high < region.high
        if (direction == "in" and outside) or (direction == "out" and inside):
            return _Trial("none", 1.0, "converged runs say one thing and the mean over all runs another")
    return _Trial(direction, p, "")


def _verdict(question: Question, trial: _Trial, p_holm: float, claims: int) -> Verdict:
    effect = trial.effect
    word = trial.word
    if trial.direction != "none" and p_holm < ALPHA:
        word = "reproduced" if trial.direction == "in" else "contradicted"
    arms = (question.left.counts, question.right.counts)
    tested = trial.direction != "none" and effect is not None and not effect.deterministic
    undecided = word == "inconclusive" and tested and effect is not None
    return Verdict(
        word=word,
        why=trial.why if word in ("inconclusive", "untestable") else "",
        conditional=any(arm.converged < arm.finished for arm in arms),
        effect=effect,
        p=trial.p if tested else None,
        p_holm=p_holm if tested else None,
        forecast=forecast(effect, question, ALPHA / claims) if undecided and effect is not None else None,
    )


def forecast(effect: Effect, question: Question, alpha: float = ALPHA) -> Forecast:
    """Seeds an arm for 80 % power at the effect seen: n = 2 ((t_{1 - alpha / 2} + t_{.8}) s / Delta)^2.

    Delta is the distance from d to the nearest edge of the region, s the standard deviation of a run, both arms taken
    together; the range comes from the 95 % chi-square interval of s. t is at 2 (n - 1) degrees of freedom.
    """
    from scipy.special import chdtri

    arms = (question.left.converged_pct, question.right.converged_pct)
    s = effect.se / math.sqrt(sum(1 / len(arm) for arm in arms))
    nu = effect.nu or 1.0
    delta = min(abs(effect.d - edge) for edge in question.region if math.isfinite(edge))
    least = min(len(arm) for arm in arms) + 1  # what is there did not decide
    narrow, wide = (s * math.sqrt(nu / float(chdtri(nu, tail))) for tail in (0.025, 0.975))
    return Forecast(*(_seeds(sd, delta, alpha, least) for sd in (narrow, s, wide)))


def _seeds(sd: float, delta: float, alpha: float, least: int) -> int | None:
    for n in range(least, MOST_SEEDS + 1):
        both = t_quantile(1 - alpha / 2, 2 * (n - 1)) + t_quantile(0.8, 2 * (n - 1))
        if n * delta**2 >= 2 * (both * sd) ** 2:
            return n
    return None
