"""Verdicts on claims: a test shows whether an effect lies inside or outside the claim's region.

With d, se and nu of the effect and F Student's cdf, p_in = max(1 - F((d - lo) / se), F((d - hi) /
se)) tests the null hypothesis "the effect is outside", and p_out = min(F((d - lo) / se), 1 - F((d -
hi) / se)) tests "the effect is inside" (two one-sided tests, Schuirmann 1987). p = min(1, 2
min(p_in, p_out)) is corrected over the claims (Holm 1979). Without the correction, the verdict is
the same as asking whether the 95 % interval lies inside the region or outside it.

A study that is not finished gets no verdicts. Runs that failed are never left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Literal, NamedTuple, assert_never

from resnetlab.stats import exact
from resnetlab.stats.contrasts import Effect, contrast_range
from resnetlab.stats.hypothesis_types import (
    Arm,
    FailureHypothesis,
    Hypothesis,
    MeansHypothesis,
    Region,
    SpeedHypothesis,
)
from resnetlab.stats.intervals import Interval, Sample, mean, sample_mean
from resnetlab.stats.power import (
    ALPHA,
    SeedForecast,
    forecast_seeds,
    rank_test_seeds,
    smallest_sufficient_seeds,
)
from resnetlab.stats.sequential import SINGLE_LOOK, Looks
from resnetlab.stats.verdict_types import Reason, ReasonKind, Verdict, VerdictLabel
from resnetlab.translation import Message, deferred

MAX_INCOMPLETE_ARMS = 8
"""Largest number of conditions with missing runs; each doubles the cases to test."""


def region_test(effect: Effect, region: Region) -> tuple[float, float]:
    """Return p_in, small for an effect inside the region, and p_out, small for one outside."""
    p_in = max(effect.p_above(region.low), effect.p_below(region.high))
    p_out = min(effect.p_below(region.low), effect.p_above(region.high))
    return p_in, p_out


def holm(p: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for multiple tests, in the given order (Holm 1979)."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def compute_verdicts(hypotheses: Sequence[Hypothesis], *, finished: bool = True) -> list[Verdict]:
    """Return the verdict of each claim. `finished` is True if every planned run has ended.

    Holm's correction counts every declared claim. A claim that cannot be tested counts with p = 1.
    A claim about a size counts twice, because its direction gets a verdict of its own. With fewer
    than 2 trained runs in an arm there is no test of means. Failed runs have no accuracies that
    could be tested instead, so the verdict is inconclusive and names the success rates.
    """
    if not finished:
        return [Verdict("waiting", Reason(ReasonKind.UNFINISHED)) for _ in hypotheses]
    return _corrected_verdicts([[hypothesis] for hypothesis in hypotheses], SINGLE_LOOK)


def compute_sequential_verdicts(
    claims: Sequence[Sequence[Hypothesis]], looks: Looks
) -> list[Verdict]:
    """Return the verdict of each claim of a study that adds seeds at declared looks.

    `claims` has the hypotheses of each claim, one for each look so far, in order. Raises ValueError
    if the number of seeds is not in the schedule, and for a second look at a claim that a network
    fails: it is tested once, since such small counts leave no error to share.
    """
    for hypotheses_by_look in claims:
        once = len(hypotheses_by_look) == 1 and isinstance(hypotheses_by_look[0], FailureHypothesis)
        for number, hypothesis in enumerate(hypotheses_by_look):
            if number and isinstance(hypothesis, FailureHypothesis):
                raise ValueError("a claim that a network fails is tested at one look")
            for arm in hypothesis.arms:
                if looks.look_index(arm.counts.planned) != number and not once:
                    seeds = looks.seeds[number]
                    raise ValueError(f"look {number + 1} is at {seeds} seeds per condition")
    return _corrected_verdicts(claims, looks)


def _corrected_verdicts(claims: Sequence[Sequence[Hypothesis]], looks: Looks) -> list[Verdict]:
    """Test the claims and their directions, and correct all of them together."""
    directions = [_direction_hypotheses(hypotheses_by_look) for hypotheses_by_look in claims]
    tested: list[Sequence[Hypothesis]] = [*claims, *filter(None, directions)]
    results = [[_test(hypothesis) for hypothesis in by_look] for by_look in tested]
    corrected = []
    for by_look, tests in zip(tested, results, strict=True):
        if isinstance(by_look[0], FailureHypothesis):
            corrected.append((tests[0].p, 0))  # it is tested once
        else:
            corrected.append(looks.corrected_p([test.p for test in tests]))
    adjusted = holm([p for p, _ in corrected])
    verdicts = [
        _verdict(by_look, tests, correction, p_holm, looks, len(tested))
        for by_look, tests, correction, p_holm in zip(
            tested, results, corrected, adjusted, strict=True
        )
    ]
    of_claims, of_directions = verdicts[: len(claims)], iter(verdicts[len(claims) :])
    return [
        _combine_direction(verdict, next(of_directions)) if direction else verdict
        for verdict, direction in zip(of_claims, directions, strict=True)
    ]


def _direction_hypotheses(hypotheses_by_look: Sequence[Hypothesis]) -> list[MeansHypothesis]:
    """Return the direction of a claim about a size as hypotheses; empty for another claim."""
    return [
        replace(hypothesis, region=hypothesis.direction, direction=None)
        for hypothesis in hypotheses_by_look
        if isinstance(hypothesis, MeansHypothesis) and hypothesis.direction is not None
    ]


class _TestResult(NamedTuple):
    """Result of a test before the correction for several claims."""

    side: Literal["inside", "outside", "none"]
    """Side of the claim's region on which the effect lies; none if the test has no result."""
    p: float
    reason: Reason | None = None
    label: VerdictLabel = "inconclusive"
    effect: Effect | None = None
    test: str = ""
    p_of_cases: tuple[float, ...] = ()


def _no_result(
    kind: ReasonKind, label: VerdictLabel = "inconclusive", **values: object
) -> _TestResult:
    return _TestResult("none", 1.0, Reason(kind, values), label)


def _test(hypothesis: Hypothesis) -> _TestResult:
    """Test a hypothesis; return the result with the largest p over all cases of missing runs.

    The side is `none` if the missing runs could change it.
    """
    arms = hypothesis.arms
    if any(arm.counts.out_of_memory for arm in arms):
        return _no_result(ReasonKind.OUT_OF_MEMORY, "untestable")
    if sum(arm.counts.missing > 0 for arm in arms) > MAX_INCOMPLETE_ARMS:
        return _no_result(ReasonKind.MANY_INCOMPLETE, number=MAX_INCOMPLETE_ARMS)
    effect: Effect | None = None
    match hypothesis:
        case MeansHypothesis():
            if short := _too_few_runs(hypothesis):
                return _no_result(ReasonKind.TOO_FEW_TRAINED, short=short)
            rights = [arms[right] for _, right in hypothesis.ratios] if hypothesis.relative else []
            if any(sample_mean(arm.trained) == 0 for arm in rights):
                return _no_result(ReasonKind.RELATIVE_TO_ZERO)
            cases = product(*(arm.missing_run_cases() for arm in arms))
            results = [_test_means(hypothesis, case) for case in cases]
            # Of several contrasts, the effect that supports the claim least.
            effects = hypothesis.effects([arm.trained for arm in arms])
            effect = max(effects, key=lambda each: region_test(each, hypothesis.region)[0])
        case FailureHypothesis():
            failed = [(arm.counts.at_chance + arm.counts.diverged, arm.counts) for arm in arms]
            counts = product(*(dict.fromkeys((k + c.missing, k)) for k, c in failed))
            results = [_test_failure(hypothesis, case) for case in counts]
        case SpeedHypothesis():
            if not all(hypothesis.epochs):  # nothing is known of an arm without a finished run
                return _no_result(ReasonKind.MISSING_RUNS)
            times = product(*map(_time_cases, arms, hypothesis.epochs))
            results = [_test_speed(*case) for case in times]
        case _:
            assert_never(hypothesis)
    worst = max(results, key=lambda result: result.p)
    p_of_cases = tuple(result.p for result in results) if len(results) > 1 else ()
    if any(result.side != worst.side for result in results):
        worst = _no_result(ReasonKind.MISSING_RUNS)
    return worst._replace(effect=effect, p_of_cases=p_of_cases)


def _too_few_runs(hypothesis: MeansHypothesis) -> Message | None:
    """Describe arms or pairs with fewer than two trained runs; None if there are none."""
    arms, pairs = hypothesis.arms, hypothesis.pairs
    short = sum(len(arm.trained) < 2 for arm in arms)
    if short and len(arms) == 2:
        left, right = (arm.counts for arm in arms)
        rates = {"left": left.trained, "all_left": left.ended}
        rates |= {"right": right.trained, "all_right": right.ended}
        return Message("{left} of {all_left} against {right} of {all_right} trained", rates)
    if short:
        numbers = {"short": short, "number": len(arms)}
        return Message("{short} of the {number} conditions have fewer than 2", numbers)
    if pairs is not None and len(pairs) < 2:
        return Message("the pairs have fewer than 2")
    return None


def _test_means(hypothesis: MeansHypothesis, trained: Sequence[Sample]) -> _TestResult:
    """Test means for one case of the missing runs.

    The trained runs decide, unless the means over all runs contradict them.
    """
    region, effects = hypothesis.region, hypothesis.effects(trained)
    tests = [region_test(effect, region) for effect in effects]
    p_in = max(inside for inside, _ in tests)
    p_out = min(1.0, len(tests) * min(outside for _, outside in tests))
    if len(effects) == 1 and effects[0].is_deterministic and p_in == p_out:
        return _no_result(ReasonKind.ON_THE_EDGE)
    side: Literal["inside", "outside"] = "inside" if p_in <= p_out else "outside"
    arms = list(zip(hypothesis.arms, trained, strict=True))
    if any(len(values) < arm.counts.ended for arm, values in arms):
        overall = [arm.interval_over_all_runs(values) for arm, values in arms]
        if hypothesis.relative:
            spans = [_relative_difference_interval(overall, hypothesis.ratios)]
        else:
            spans = [contrast_range(overall, row) for row in hypothesis.weights]
        outside = any(span.high <= region.low or span.low >= region.high for span in spans)
        inside = all(region.low < span.low and span.high < region.high for span in spans)
        if (side == "inside" and outside) or (side == "outside" and inside):
            return _no_result(ReasonKind.MEANS_DISAGREE)
    test = "corrected resampled t-test" if hypothesis.overlap else ""
    return _TestResult(side, min(1.0, 2 * min(p_in, p_out)), test=test)


def _relative_difference_interval(
    arms: Sequence[Interval], ratios: Sequence[tuple[int, int]]
) -> Interval:
    pairs = [(arms[left], arms[right]) for left, right in ratios]
    if any(right.low <= 0 <= right.high or math.isinf(right.low) for _, right in pairs):
        return Interval(-math.inf, math.inf)
    corners = [[100 * (a - b) / abs(b) for a in left for b in right] for left, right in pairs]
    return Interval(mean(list(map(min, corners))), mean(list(map(max, corners))))


def _test_failure(hypothesis: FailureHypothesis, failed: Sequence[int]) -> _TestResult:
    """Test the claim that the first arm fails and the second one trains.

    It is reproduced if the first arm fails more often and in at least half of its runs, and the
    second one in at most half. It is contradicted if the first arm clearly fails in fewer than half
    of its runs, by the one-sided 95 % bound (Clopper and Pearson 1934).
    """
    k_a, k_b = failed
    n_a, n_b = (arm.counts.ended for arm in hypothesis.arms)
    if 2 * k_a < n_a:
        from scipy.stats import binomtest

        p = float(binomtest(k_a, n_a, alternative="less").pvalue)
        return _TestResult("outside", p, test=deferred("binomial test, one-sided"))
    if 2 * k_b > n_b:
        return _no_result(ReasonKind.BOTH_FAIL)
    p = min(1.0, 2 * exact.boschloo(k_a, n_a, k_b, n_b))
    return _TestResult("inside", p, test=deferred("Boschloo's test"))


def _time_cases(arm: Arm, epochs: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Return the times in both cases of missing runs: never, and at the time of the median run."""
    missing = arm.counts.missing
    middle = sorted(epochs)[(len(epochs) - 1) // 2] if epochs else math.inf
    arrivals = (math.inf, middle) if missing else (math.inf,)
    return [(*epochs, *[arrival] * missing) for arrival in arrivals]


def _test_speed(left: tuple[float, ...], right: tuple[float, ...]) -> _TestResult:
    if not any(math.isfinite(x) for x in (*left, *right)):
        return _no_result(ReasonKind.NEVER_REACHED)
    sooner, later, _ = exact.time_to_accuracy_rank_test(left, right)
    return _TestResult("inside" if sooner <= later else "outside", min(1.0, 2 * min(sooner, later)))


def _verdict(
    hypotheses_by_look: Sequence[Hypothesis],
    results: Sequence[_TestResult],
    corrected: tuple[float, int],
    p_holm: float,
    looks: Looks,
    num_tests: int,
) -> Verdict:
    """Return the verdict: the side of the deciding look, the effect of the latest."""
    hypothesis, latest = hypotheses_by_look[-1], results[-1]
    p, deciding_look = corrected
    result = latest if latest.label == "untestable" else results[deciding_look]
    label, effect = result.label, latest.effect
    if result.side != "none" and p_holm < ALPHA:
        label = "reproduced" if result.side == "inside" else "contradicted"
    failed = any(arm.counts.trained < arm.counts.ended for arm in hypothesis.arms)
    tested = result.side != "none" and not (effect is not None and effect.is_deterministic)
    open_test = label == "inconclusive" and tested
    return Verdict(
        label=label,
        effect=effect,
        reason=result.reason if label in ("inconclusive", "untestable") else None,
        trained_runs_only=isinstance(hypothesis, MeansHypothesis) and failed,
        test=result.test if tested else "",
        p=p if tested else None,
        p_holm=p_holm if tested else None,
        forecast=_forecast(hypothesis, effect, ALPHA / num_tests) if open_test else None,
        p_of_cases=latest.p_of_cases,
        look=len(hypotheses_by_look),
        confidence=1 - ALPHA * looks.weights[len(hypotheses_by_look) - 1],
    )


def _forecast(hypothesis: Hypothesis, effect: Effect | None, alpha: float) -> SeedForecast | None:
    """Return the seeds that would decide a claim if the observed effect is the true one."""
    min_runs = 1 + min(arm.counts.ended for arm in hypothesis.arms)
    match hypothesis:
        case MeansHypothesis():
            if effect and not hypothesis.overlap:  # more folds of the same images decide little
                return forecast_seeds(effect, hypothesis.arm_sizes, hypothesis.region, alpha)
            return None
        case SpeedHypothesis() if all(hypothesis.epochs):
            _, _, win_probability = exact.time_to_accuracy_rank_test(*hypothesis.epochs)
            return rank_test_seeds(win_probability, alpha, min_runs)
        case SpeedHypothesis():
            return None
        case FailureHypothesis():
            counts = [arm.counts for arm in hypothesis.arms]
            left, right = ((arm.at_chance + arm.diverged) / arm.ended for arm in counts)
            return smallest_sufficient_seeds(
                lambda n: exact.decision_power(n, left, right, alpha) >= 0.8, min_runs
            )
        case _:
            assert_never(hypothesis)


def _combine_direction(size: Verdict, direction: Verdict) -> Verdict:
    """Add the verdict on the direction.

    A contradicted size with a reproduced direction is partly reproduced.
    """
    partly = size.label == "contradicted" and direction.label == "reproduced"
    return replace(size, label="partly reproduced" if partly else size.label, direction=direction)
