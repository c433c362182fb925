"""Estimands of claims and their tests, in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import assert_never

from resnetlab.reports.document import Cell
from resnetlab.reports.format import DASH, format_number, join_clauses, join_words
from resnetlab.stats.hypothesis_types import FailureHypothesis, SpeedHypothesis
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies import claims
from resnetlab.studies.claims import AnyClaim, MetricClaim
from resnetlab.studies.measure import TEST_ACCURACY, Measure
from resnetlab.translation import deferred, tr, tr_word


def unit(claim: AnyClaim, measure: Measure = TEST_ACCURACY) -> str:
    """Return the unit of a claim's difference: points, nats or %.

    For imported runs without a unit it is the name of their measure.
    """
    if isinstance(claim, claims.Relative):
        return "%"
    if measure.unit != "%":
        return measure.name
    return "nats" if getattr(claim, "metric", "top1") == "loss" else tr("points")


def describe_estimand(claim: AnyClaim, measure: Measure = TEST_ACCURACY) -> str:
    """Describe the estimand and its region: `residual 56 (A) − plain 56: above 2 points`."""
    match claim:
        case claims.Better() | claims.About() | claims.Equivalent():
            return _describe_difference(claim, measure)
        case claims.Average() | claims.Every() | claims.Relative():
            return _describe_pairs(claim, measure)
        case claims.FailsAndTrains():
            return tr("runs that fail, {left} against {right}", left=claim.left, right=claim.right)
        case claims.Monotone():
            return tr(
                "{order}: every step {change} {metric}",
                order=" → ".join(claim.order),
                change=tr_word(claim.change),
                metric=_metric_text(claim, measure),
            )
        case claims.Best():
            return tr(
                "{left} against {rivals}, by {metric}",
                left=claim.left,
                rivals=join_words(claim.rivals),
                metric=_metric_text(claim, measure),
            )
        case claims.Faster():
            return tr(
                "epochs to {accuracy_pct:g} %, {left} against {right}",
                accuracy_pct=claim.accuracy_pct,
                left=claim.left,
                right=claim.right,
            )
        case _:
            assert_never(claim)


def _describe_difference(
    claim: claims.Better | claims.About | claims.Equivalent, measure: Measure
) -> str:
    """Describe the difference of two conditions and its region."""
    compared = _difference_text(claim.left, claim.right, claim, measure)
    if claim.paired:
        compared += tr(", run by run")
    match claim:
        case claims.Better():
            if not claim.by_more_than:
                return compared
            return tr(
                "{compared}: above {number:g} {unit}",
                compared=compared,
                number=claim.by_more_than,
                unit=unit(claim, measure),
            )
        case claims.About():
            return tr(
                "{compared}: from {low} to {high} {unit}",
                compared=compared,
                low=format_number(claim.size - claim.effective_margin, 2),
                high=format_number(claim.size + claim.effective_margin, 2),
                unit=unit(claim, measure),
            )
        case claims.Equivalent():
            name = unit(claim, measure)
            if claim.margin == 1 and measure.unit == "%":  # not the name of a measure
                name = name.removesuffix("s")
            margin = tr("{margin:g} {unit}", margin=claim.margin, unit=name)
            return tr("{compared}: within ± {margin}", compared=compared, margin=margin)


def _describe_pairs(
    claim: claims.Average | claims.Every | claims.Relative, measure: Measure
) -> str:
    """Describe the differences of several pairs of conditions and their region."""
    pairs = join_words(
        [
            _difference_text(left, right, claim, measure)
            for left, right in zip(claim.left, claim.right, strict=True)
        ]
    )
    match claim:
        case claims.Average():
            return tr("mean of {pairs}", pairs=pairs)
        case claims.Every():
            return tr("each of {pairs}", pairs=pairs)
        case claims.Relative():
            return tr(
                "mean of {pairs}, each in percent of the right: from {low} to {high} %",
                pairs=pairs,
                low=format_number(claim.size - claim.margin, 1),
                high=format_number(claim.size + claim.margin, 1),
            )


def counts_cell(hypothesis: FailureHypothesis | SpeedHypothesis) -> Cell:
    """Return a cell with the numbers of a claim that compares no means."""
    if isinstance(hypothesis, FailureHypothesis):
        counts_of_arms = [arm.counts for arm in hypothesis.arms]
        rates = [
            tr(
                "{failed} of {finished}",
                failed=counts.at_chance + counts.diverged,
                finished=counts.ended,
            )
            for counts in counts_of_arms
        ]
        return Cell(tr("{rate} fail", rate=rates[0]), tr("against {rate}", rate=rates[1]))
    never = [
        tr("{never} of {runs}", never=sum(math.isinf(time) for time in times), runs=len(times))
        for times in hypothesis.epochs
    ]
    left, right = (_median_text(times) for times in hypothesis.epochs)
    medians = tr("{left} against {right} epochs", left=left, right=right)
    if hypothesis.epochs[1] and statistics.median_high(hypothesis.epochs[1]) == 1:
        medians = tr("{left} against {right} epoch", left=left, right=right)
    return Cell(
        medians, tr("medians; never: {left} against {right}", left=never[0], right=never[1])
    )


def _median_text(epochs: tuple[float, ...]) -> str:
    """Return the median of the epochs at which runs reached an accuracy, or a dash without runs."""
    if not epochs:
        return DASH
    median = statistics.median_high(epochs)
    return tr("never") if math.isinf(median) else tr("{epoch:g}", epoch=median)


_TEST_DESCRIPTIONS = {
    "greater": deferred("greater: the difference is above 0"),
    "about": deferred(
        "a size: the difference is in the region that the claim declares; the direction has "
        "a test of its own, and runs that reproduce the direction alone reproduce the claim "
        "partly"
    ),
    "equal": deferred("equal: the difference is within the margin, by two one-sided tests"),
    "fails-and-trains": deferred(
        "fails and trains, of the runs that diverged or stayed at chance: if at least half "
        "of the first condition's runs fail and at most half of the second's, Boschloo's "
        "exact test that the first one fails more often; if fewer than half of the first "
        "one's fail, a one-sided binomial test that its rate of failures is below one half, "
        "which contradicts the claim"
    ),
    "average": deferred(
        "average: a contrast over the conditions (Satterthwaite's degrees of freedom)"
    ),
    "every": deferred(
        "every: each pair is above 0, by the pair with the largest p, which is shown (Berger 1982)"
    ),
    "relative": deferred("relative: the mean of ratios, its variance by the delta method"),
    "monotone": deferred(
        "monotone: every step is above 0, by the step with the largest p, which is shown "
        "(Berger 1982)"
    ),
    "best": deferred("best: above every rival, by the closest rival, which is shown (Berger 1982)"),
    "faster": deferred(
        "faster: the exact rank test of Gehan (1965); a run that never reaches the accuracy "
        "ranks behind all that do"
    ),
}


_TEST_METRICS = {
    "top1": deferred("test accuracy"),
    "error": deferred("test error"),
    "loss": deferred("test loss"),
}


def test_name(claim: AnyClaim, verdict: Verdict) -> str:
    """Return the name of the test behind the p-value of a claim; empty if it has none."""
    if verdict.p is None:
        return ""
    if verdict.test:
        return tr(verdict.test)
    match claim:
        case claims.Better() | claims.About() | claims.Equivalent():
            return tr("paired t-test") if claim.paired else tr("Welch's t-test")
        case claims.Faster():
            return tr("Gehan's rank test")
        case claims.Relative():
            return tr("t-test of a mean ratio")
        case claims.Average():
            return tr("t-test of a contrast")
        case _:
            return tr("Welch's t-test, the weakest")


def claims_note(declared_claims: Sequence[AnyClaim], correction: str) -> str:
    """Return the note under the table of claims."""
    kinds = dict.fromkeys(claim.kind for claim in declared_claims)
    how = join_clauses([tr(_TEST_DESCRIPTIONS[kind]) for kind in kinds])
    if any(claims.claim_split(claim) == "train" for claim in declared_claims):
        how += ". " + tr(
            "The train images: a fixed part of the train split, evaluated as the test images are"
        )
    if any(getattr(claim, "by_more_than", 0.0) for claim in declared_claims):
        how += ". " + tr("A claim that declares an amount: the difference is above it")
    paired = ""
    if any(_is_paired(c) for c in declared_claims):
        paired = " " + tr("Paired: the two results of the same training run are compared.")
    return tr(
        "Difference: how much better left is, in accuracy, or how much lower in error or loss, "
        "over trained runs, by Welch's t with ν degrees of freedom. Tests: {how}. If p, "
        "{correction}, is below 0.05, the runs reproduce or contradict the claim; otherwise it "
        "is inconclusive.{paired}",
        how=how,
        correction=correction,
        paired=paired,
    )


def _is_paired(claim: AnyClaim) -> bool:
    return bool(getattr(claim, "paired", False))


def _metric_text(claim: MetricClaim, measure: Measure) -> str:
    if measure != TEST_ACCURACY:
        return measure.name
    if claim.split == "train":
        metric = tr_word("accuracy" if claim.metric == "top1" else claim.metric)
        return tr("{metric} on the train images", metric=metric)
    return tr(_TEST_METRICS[claim.metric])


def _difference_text(left: str, right: str, claim: MetricClaim, measure: Measure) -> str:
    """Return the difference in words, in the order in which above 0 means that left is better."""
    if claim.metric == "top1":
        return f"{left} − {right}" + (
            tr(" in {metric}", metric=_metric_text(claim, measure))
            if claim.split == "train"
            else ""
        )
    return tr(
        "{right} − {left} in {metric}",
        right=right,
        left=left,
        metric=_metric_text(claim, measure),
    )
