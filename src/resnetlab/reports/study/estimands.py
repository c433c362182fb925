"""Estimands of claims and their tests, in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import assert_never

from resnetlab.reports.document import Cell
from resnetlab.reports.format import DASH, format_number, join_words
from resnetlab.stats.verdict import FailureHypothesis, SpeedHypothesis, Verdict
from resnetlab.studies import claims
from resnetlab.studies.claims import AnyClaim, MetricClaim
from resnetlab.studies.imported import TEST_ACCURACY, Measure


def unit(claim: AnyClaim, measure: Measure = TEST_ACCURACY) -> str:
    """Return the unit of a claim's difference: points, nats or %.

    For imported runs without a unit it is the name of their measure.
    """
    if isinstance(claim, claims.Relative):
        return "%"
    if measure.unit != "%":
        return measure.name
    return "nats" if getattr(claim, "metric", "top1") == "loss" else "points"


def describe_estimand(claim: AnyClaim, measure: Measure = TEST_ACCURACY) -> str:
    """Describe the estimand and its region: `residual 56 (A) − plain 56: above 0`."""
    match claim:
        case claims.Greater():
            compared = _difference_text(claim.left, claim.right, claim, measure)
            edge = f": above {claim.by_more_than:g}" if claim.by_more_than else ""
            return compared + _paired_text(claim.paired) + edge
        case claims.About():
            ends = (
                format_number(claim.size - claim.effective_margin, 2),
                format_number(claim.size + claim.effective_margin, 2),
            )
            compared = _difference_text(claim.left, claim.right, claim, measure) + _paired_text(
                claim.paired
            )
            return f"{compared}: from {ends[0]} to {ends[1]} {unit(claim, measure)}"
        case claims.Equal():
            compared = _difference_text(claim.left, claim.right, claim, measure) + _paired_text(
                claim.paired
            )
            amount = f"{claim.margin:g} {unit(claim, measure)}"
            return (
                f"{compared}: within ± {amount.removesuffix('s') if claim.margin == 1 else amount}"
            )
        case claims.FailsAndTrains():
            return f"runs that fail, {claim.left} against {claim.right}"
        case claims.Average():
            pairs = [
                _difference_text(*pair, claim, measure)
                for pair in zip(claim.left, claim.right, strict=True)
            ]
            return f"mean of {join_words(pairs)}"
        case claims.Every():
            pairs = [
                _difference_text(*pair, claim, measure)
                for pair in zip(claim.left, claim.right, strict=True)
            ]
            return f"each of {join_words(pairs)}"
        case claims.Relative():
            pairs = [
                _difference_text(*pair, claim, measure)
                for pair in zip(claim.left, claim.right, strict=True)
            ]
            ends = (
                format_number(claim.size - claim.margin, 1),
                format_number(claim.size + claim.margin, 1),
            )
            return (
                f"mean of {join_words(pairs)}, each in percent of the right: from {ends[0]} to "
                f"{ends[1]} %"
            )
        case claims.Monotone():
            metric = _metric_text(claim, measure)
            return f"{' → '.join(claim.order)}: every step {claim.change} {metric}"
        case claims.Best():
            metric = _metric_text(claim, measure)
            return f"{claim.left} against {join_words(claim.rivals)}, by {metric}"
        case claims.Faster():
            return f"epochs to {claim.accuracy_pct:g} %, {claim.left} against {claim.right}"
        case _:
            assert_never(claim)


def counts_cell(hypothesis: FailureHypothesis | SpeedHypothesis) -> Cell:
    """Return a cell with the numbers of a claim that compares no means."""
    if isinstance(hypothesis, FailureHypothesis):
        counts_of_arms = [arm.counts for arm in hypothesis.arms]
        rates = [
            f"{counts.at_chance + counts.diverged} of {counts.finished}"
            for counts in counts_of_arms
        ]
        return Cell(f"{rates[0]} fail", f"against {rates[1]}")
    medians = [statistics.median_high(times) if times else math.nan for times in hypothesis.epochs]
    never = [
        f"{sum(math.isinf(time) for time in times)} of {len(times)}" for times in hypothesis.epochs
    ]
    median_texts = [
        DASH if math.isnan(m) else "never" if math.isinf(m) else f"{m:g}" for m in medians
    ]
    return Cell(
        f"{median_texts[0]} against {median_texts[1]} {'epoch' if medians[1] == 1 else 'epochs'}",
        f"medians; never: {never[0]} against {never[1]}",
    )


_TEST_DESCRIPTIONS = {
    "greater": "greater: the difference is above 0",
    "about": "a size: the difference is in the region that the claim declares; the direction has a "
    "test of its own, and runs that reproduce the direction alone reproduce the claim partly",
    "equal": "equal: the difference is within the margin, by two one-sided tests",
    "fails-and-trains": "fails and trains, of the runs that diverged or stayed at chance: if at "
    "least half of the first condition's runs fail and at most half of the second's, Boschloo's "
    "exact test that the first one fails more often; if fewer than half of the first one's fail, a "
    "one-sided binomial test that its rate of failures is below one half, which contradicts the "
    "claim",
    "average": "average: a contrast over the conditions (Satterthwaite's degrees of freedom)",
    "every": "every: each pair is above 0, by the pair with the largest p, which is shown "
    "(Berger 1982)",
    "relative": "relative: the mean of ratios, its variance by the delta method",
    "monotone": "monotone: every step is above 0, by the step with the largest p, which is "
    "shown (Berger 1982)",
    "best": "best: above every rival, by the closest rival, which is shown (Berger 1982)",
    "faster": "faster: the exact rank test of Gehan (1965); a run that never reaches the accuracy "
    "ranks behind all that do",
}


def test_name(claim: AnyClaim, verdict: Verdict) -> str:
    """Return the name of the test behind the p-value of a claim; empty if it has none."""
    if verdict.p is None:
        return ""
    if verdict.test:
        return verdict.test
    match claim:
        case claims.Greater() | claims.About() | claims.Equal():
            return "paired t-test" if claim.paired else "Welch's t-test"
        case claims.Faster():
            return "Gehan's rank test"
        case claims.Relative():
            return "t-test of a mean ratio"
        case claims.Average():
            return "t-test of a contrast"
        case _:
            return "Welch's t-test, the weakest"


def claims_note(declared_claims: Sequence[AnyClaim], correction: str) -> str:
    """Return the note under the table of claims."""
    how = "; ".join(
        _TEST_DESCRIPTIONS[kind] for kind in dict.fromkeys(claim.kind for claim in declared_claims)
    )
    if any(claims.claim_split(claim) == "train" for claim in declared_claims):
        how += (
            ". The train images: a fixed part of the train split, evaluated as the test images are"
        )
    if any(getattr(claim, "by_more_than", 0.0) for claim in declared_claims):
        how += ". A claim that declares an amount: the difference is above it"
    paired = ""
    if any(_is_paired(c) for c in declared_claims):
        paired = " Paired: the two results of the same training run are compared."
    return (
        "Difference: how much better left is, in accuracy, or how much lower in error or loss, "
        f"over trained runs, by Welch's t with ν degrees of freedom. Tests: {how}. If p, "
        f"{correction}, is below 0.05, the runs reproduce or contradict the claim; otherwise it is "
        f"inconclusive.{paired}"
    )


def _is_paired(claim: AnyClaim) -> bool:
    return bool(getattr(claim, "paired", False))


def _paired_text(paired: bool) -> str:
    return ", run by run" if paired else ""


def _metric_text(claim: MetricClaim, measure: Measure) -> str:
    if measure != TEST_ACCURACY:
        return measure.name
    metric = {"top1": "accuracy", "error": "error", "loss": "loss"}[claim.metric]
    return f"test {metric}" if claim.split == "test" else f"{metric} on the train images"


def _difference_text(left: str, right: str, claim: MetricClaim, measure: Measure) -> str:
    """Return the difference in words, in the order in which above 0 means that left is better."""
    if claim.metric == "top1":
        return f"{left} − {right}" + (
            f" in {_metric_text(claim, measure)}" if claim.split == "train" else ""
        )
    return f"{right} − {left} in {_metric_text(claim, measure)}"
