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
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, NamedTuple

from resnetlab.stats import contrasts, exact
from resnetlab.stats.contrasts import Effect
from resnetlab.stats.intervals import WHOLE, Interval, hurdle_interval, mean
from resnetlab.stats.outcomes import Counts
from resnetlab.stats.power import ALPHA, Forecast, first_enough, forecast, race_seeds
from resnetlab.stats.sequential import ONCE, Looks

Word = Literal["reproduced", "partly reproduced", "contradicted", "inconclusive", "untestable", "waiting"]

MOST_UNCERTAIN = 8
"""Conditions with missing runs in one claim: each has two fates, and all of them are tried together."""


class Region(NamedTuple):
    """Where the effect lies if the claim holds: an open interval."""

    low: float
    high: float


GREATER = Region(0.0, math.inf)
LESS = Region(-math.inf, 0.0)


@dataclass(frozen=True)
class Arm:
    """A condition as a claim sees it, in a value of which more is better: accuracy in percent, or minus a loss."""

    counts: Counts
    converged: tuple[float, ...]
    chance: float
    """The value of a guess."""
    whole: Interval = WHOLE
    """Where a value can lie."""

    def fates(self) -> list[tuple[float, ...]]:
        """The converged values with the missing runs taken as dead, and as the mean of the converged ones."""
        there, missing = self.converged, self.counts.missing
        return [there, (*there, *[mean(there)] * missing)] if missing else [there]

    def overall(self, converged: Sequence[float]) -> Interval:
        """The 95 % interval of the mean over all runs, had these converged."""
        return hurdle_interval(converged, self.counts.finished, self.chance, whole=self.whole)


@dataclass(frozen=True)
class Means:
    """A claim about means: each contrast (a row of weights, one an arm) lies in the region.

    Several contrasts are an intersection-union test: the largest one-sided p without a correction (Berger 1982); one
    that goes the other way after Holm contradicts the claim. `pairs` holds differences where runs share more than a
    seed; `relative` reads the arms as left, right, left, ... and the effect in percent of right.
    """

    arms: tuple[Arm, ...]
    weights: tuple[tuple[float, ...], ...] = ((1.0, -1.0),)
    region: Region = GREATER
    relative: bool = False
    pairs: tuple[float, ...] | None = None
    direction: Region | None = None
    """Of a claim about a size: its direction, which is judged on a line of its own."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Values an arm, of those that a forecast would add to."""
        return (len(self.pairs),) if self.pairs is not None else tuple(len(arm.converged) for arm in self.arms)

    def effects(self, values: Sequence[Sequence[float]]) -> list[Effect]:
        """An effect a contrast, had these runs converged."""
        if self.pairs is not None:
            return [contrasts.paired(self.pairs)]
        if self.relative:
            return [contrasts.relative(values)]
        return [contrasts.contrast(values, row) for row in self.weights]


@dataclass(frozen=True)
class Fails:
    """A claim that the first arm fails to train (dead or diverged) and the second does train."""

    arms: tuple[Arm, Arm]


@dataclass(frozen=True)
class Faster:
    """A claim that the first arm reaches a level in fewer epochs: a time for each run that is not missing, inf where it
    never came within the epochs that both arms were given."""

    arms: tuple[Arm, Arm]
    epochs: tuple[tuple[float, ...], tuple[float, ...]]


Question = Means | Fails | Faster


@dataclass(frozen=True)
class Verdict:
    """How a claim fared. `p` and `p_holm` are None where there is no test or the difference is deterministic."""

    word: Word
    why: str = ""
    """The reason of a verdict that a p-value does not give."""
    conditional: bool = False
    """On convergence: an arm has dead, diverged or missing runs, and converged ones were compared."""
    effect: Effect | None = None
    """Of the converged runs; of several contrasts the one that says the least for the claim."""
    p: float | None = None
    p_holm: float | None = None
    forecast: Forecast | None = None
    direction: Verdict | None = None
    """Of a claim about a size: the verdict on its direction alone."""
    look: int = 1
    confidence: float = 1 - ALPHA
    """Of the interval at this look."""

    @property
    def qualified(self) -> str:
        """`reproduced (conditional on convergence)`."""
        decided = self.word in ("reproduced", "partly reproduced", "contradicted")
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


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values that hold the false discovery rate: for exploratory grids, never for declared claims."""
    adjusted, least = [0.0] * len(p), 1.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: -p[i])):
        least = min(least, p[index] * len(p) / (len(p) - rank))
        adjusted[index] = least
    return adjusted


def judge(questions: Sequence[Question], *, finished: bool = True) -> list[Verdict]:
    """The verdict of each claim of a study; `finished` says that every planned run of the study is.

    Every declared claim counts in Holm's correction, one that cannot be tested with p = 1; a claim about a size counts
    twice, for its direction is a line of its own. With fewer than 2 converged runs in an arm there is no test of means,
    and the runs that failed are no accuracies to test instead: the verdict is inconclusive and names the success rates.
    """
    if not finished:
        return [Verdict("waiting", "not judged before the last run of the study") for _ in questions]
    return _judged([[question] for question in questions], ONCE)


def judge_looks(history: Sequence[Sequence[Question]], looks: Looks) -> list[Verdict]:
    """As `judge`, of claims whose arms grew: each has its questions at the looks that it has had, in order.

    Raises ValueError for seeds that were added off the schedule, and for a claim that a network fails at a second look:
    it is judged once, since counts so small have no error to share.
    """
    for questions in history:
        once = len(questions) == 1 and isinstance(questions[0], Fails)
        for number, question in enumerate(questions):
            if number and isinstance(question, Fails):
                raise ValueError("a claim that a network fails is judged at one look")
            for arm in question.arms:
                if looks.number(arm.counts.planned) != number and not once:
                    raise ValueError(f"look {number + 1} is at {looks.seeds[number]} seeds a condition")
    return _judged(history, looks)


def _judged(history: Sequence[Sequence[Question]], looks: Looks) -> list[Verdict]:
    lines: list[Sequence[Question]] = []
    directions: list[int | None] = []  # where a claim's direction stands among the lines
    for questions in history:
        sized = [q for q in questions if isinstance(q, Means) and q.direction is not None]
        directions.append(len(history) + sum(place is not None for place in directions) if sized else None)
        lines += [[replace(q, region=q.direction or GREATER, direction=None) for q in sized]] if sized else []
    lines = [*history, *lines]
    trials = [[_weigh(question) for question in line] for line in lines]
    spent = [
        looks.spent([trial.p for trial in held]) if not isinstance(line[0], Fails) else (held[0].p, 0)
        for line, held in zip(lines, trials, strict=True)
    ]
    adjusted = holm([p for p, _ in spent])
    verdicts = [
        _verdict(line, held, p, p_holm, looks, len(lines))
        for line, held, p, p_holm in zip(lines, trials, spent, adjusted, strict=True)
    ]
    return [
        verdict if place is None else _sized(verdict, verdicts[place])
        for verdict, place in zip(verdicts, directions, strict=False)
    ]


class _Trial(NamedTuple):
    """What stands before the correction."""

    side: Literal["in", "out", "none"]
    p: float
    why: str = ""
    word: Word = "inconclusive"
    effect: Effect | None = None


def _weigh(question: Question) -> _Trial:
    """The least favourable trial over what the missing runs could have been; none where they could change the side."""
    arms = question.arms
    if any(arm.counts.out_of_memory for arm in arms):
        return _Trial("none", 1.0, "a condition does not fit into this machine's memory", "untestable")
    if sum(arm.counts.missing > 0 for arm in arms) > MOST_UNCERTAIN:
        return _Trial("none", 1.0, f"runs are missing in more than {MOST_UNCERTAIN} of the conditions")
    effect: Effect | None = None
    match question:
        case Means():
            short = [arm for arm in arms if len(arm.converged) < 2]
            if short and len(arms) == 2:
                rates = " against ".join(f"{arm.counts.converged} of {arm.counts.finished}" for arm in arms)
                return _Trial("none", 1.0, f"too few converged runs for a test of means: {rates} converged")
            if short or (question.pairs is not None and len(question.pairs) < 2):
                what = f"{len(short)} of the {len(arms)} conditions have" if short else "the pairs have"
                return _Trial("none", 1.0, f"too few converged runs for a test of means: {what} fewer than 2")
            trials = [_means(question, fates) for fates in product(*(arm.fates() for arm in arms))]
            effect = _weakest(question, question.effects([arm.converged for arm in arms]))
        case Fails():
            lost = [(arm.counts.dead + arm.counts.diverged, arm.counts.missing) for arm in arms]
            trials = [_fails(question, fates) for fates in product(*({k, k + m} for k, m in lost))]
        case Faster():
            trials = [_faster(*fates) for fates in product(*map(_arrivals, arms, question.epochs))]
    worst = max(trials, key=lambda trial: trial.p)
    if any(trial.side != worst.side for trial in trials):
        return _Trial("none", 1.0, "missing runs could change the verdict", effect=effect)
    return worst._replace(effect=effect)


def _weakest(question: Means, effects: Sequence[Effect]) -> Effect:
    return max(effects, key=lambda effect: region_test(effect, question.region)[0])


def _means(question: Means, converged: Sequence[tuple[float, ...]]) -> _Trial:
    """One fate of the missing runs: converged runs, unless the means over all runs say otherwise."""
    region, effects = question.region, question.effects(converged)
    tests = [region_test(effect, region) for effect in effects]
    p_in, p_out = max(test[0] for test in tests), min(1.0, len(tests) * min(test[1] for test in tests))
    if len(effects) == 1 and effects[0].deterministic and p_in == p_out:
        return _Trial("none", 1.0, "the arms are constant and the difference is on the edge of the claim")
    side: Literal["in", "out"] = "in" if p_in <= p_out else "out"
    if any(len(values) < arm.counts.finished for values, arm in zip(converged, question.arms, strict=True)):
        overall = [arm.overall(values) for arm, values in zip(question.arms, converged, strict=True)]
        spans = [_ratio_span(overall)] if question.relative else [_span(overall, row) for row in question.weights]
        outside = any(span.high <= region.low or span.low >= region.high for span in spans)
        inside = all(region.low < span.low and span.high < region.high for span in spans)
        if (side == "in" and outside) or (side == "out" and inside):
            return _Trial("none", 1.0, "converged runs say one thing and the mean over all runs another")
    return _Trial(side, min(1.0, 2 * min(p_in, p_out)))


def _span(arms: Sequence[Interval], weights: Sequence[float]) -> Interval:
    used = [(c * arm.low, c * arm.high) for c, arm in zip(weights, arms, strict=True) if c]
    return Interval(math.fsum(map(min, used)), math.fsum(map(max, used)))


def _ratio_span(arms: Sequence[Interval]) -> Interval:
    pairs = list(zip(arms[::2], arms[1::2], strict=True))
    if any(right.low <= 0 <= right.high or math.isinf(right.low) for _, right in pairs):
        return Interval(-math.inf, math.inf)
    corners = [[100 * (a - b) / abs(b) for a in left for b in right] for left, right in pairs]
    return Interval(mean([min(corner) for corner in corners]), mean([max(corner) for corner in corners]))


def _fails(question: Fails, failed: Sequence[int]) -> _Trial:
    """Reproduced: fails more often, in half of its runs or more, and the other in half or fewer. Contradicted: fails in
    surely less than half, by the one-sided 95 % bound (Clopper and Pearson 1934)."""
    (k_a, k_b), (n_a, n_b) = failed, [arm.counts.finished for arm in question.arms]
    if 2 * k_a < n_a:
        return _Trial("out", exact.below_half(k_a, n_a))
    if 2 * k_b > n_b:
        return _Trial("none", 1.0, "both conditions fail in most of their runs")
    return _Trial("in", min(1.0, 2 * exact.boschloo(k_a, n_a, k_b, n_b)))


def _arrivals(arm: Arm, epochs: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Missing runs that never arrive, and ones that arrive as the median run does."""
    missing = arm.counts.missing
    middle = sorted(epochs)[(len(epochs) - 1) // 2] if epochs else math.inf
    return [(*epochs, *[fate] * missing) for fate in ((math.inf, middle) if missing else (math.inf,))]


def _faster(left: tuple[float, ...], right: tuple[float, ...]) -> _Trial:
    if not any(math.isfinite(x) for x in (*left, *right)):
        return _Trial("none", 1.0, "no run of either condition reached the level")
    sooner, later, _ = exact.race(left, right)
    return _Trial("in" if sooner <= later else "out", min(1.0, 2 * min(sooner, later)))


def _verdict(
    line: Sequence[Question], held: Sequence[_Trial], spent: tuple[float, int], p_holm: float, looks: Looks, lines: int
) -> Verdict:
    """A line's verdict: the side that the deciding look took, the effect of the latest look."""
    question, latest, (p, decided) = line[-1], held[-1], spent
    trial = latest if latest.word == "untestable" else held[decided]
    word, effect = trial.word, latest.effect
    if trial.side != "none" and p_holm < ALPHA:
        word = "reproduced" if trial.side == "in" else "contradicted"
    means = isinstance(question, Means)
    tested = trial.side != "none" and not (effect is not None and effect.deterministic)
    return Verdict(
        word=word, effect=effect, why=trial.why if word in ("inconclusive", "untestable") else "",
        conditional=means and any(arm.counts.converged < arm.counts.finished for arm in question.arms),
        p=p if tested else None, p_holm=p_holm if tested else None,
        forecast=_forecast(question, effect, ALPHA / lines) if word == "inconclusive" and tested else None,
        look=len(line), confidence=1 - ALPHA * looks.weights[len(line) - 1],
    )  # fmt: skip


def _forecast(question: Question, effect: Effect | None, alpha: float) -> Forecast | None:
    """Seeds that would decide a claim, were what was seen the truth."""
    if isinstance(question, Means):
        return forecast(effect, question.sizes, question.region, alpha) if effect else None
    least = 1 + min(arm.counts.finished for arm in question.arms)
    if isinstance(question, Faster):
        return race_seeds(exact.race(*question.epochs)[2], alpha, least)
    rates = [(arm.counts.dead + arm.counts.diverged) / arm.counts.finished for arm in question.arms]
    return first_enough(lambda n: exact.decision_power(n, rates[0], rates[1], alpha) >= 0.8, least)


def _sized(size: Verdict, direction: Verdict) -> Verdict:
    """A claim about a size: where the size is contradicted and the direction holds, it is partly reproduced."""
    partly = size.word == "contradicted" and direction.word == "reproduced"
    return replace(size, word="partly reproduced" if partly else size.word, direction=direction)
