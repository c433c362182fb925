"""Estimands of claims and their tests, in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import assert_never

from resnetlab.reports.document import Cell
from resnetlab.reports.format import NOTHING, listed, number
from resnetlab.stats.verdict import Fails, Faster
from resnetlab.studies import claims
from resnetlab.studies.claims import AnyClaim, Measured


def unit(claim: AnyClaim) -> str:
    """Return the unit of a claim's difference: points, nats or %."""
    if isinstance(claim, claims.Relative):
        return "%"
    return "nats" if getattr(claim, "metric", "top1") == "loss" else "points"


def compared(claim: AnyClaim) -> str:
    """Describe the estimand and its region: `residual 56 (A) − plain 56`, `...: from 1.0 to 3.0
    points`.
    """
    match claim:
        case claims.Greater():
            return _less(claim.left, claim.right, claim) + _pairs(claim.paired)
        case claims.About():
            ends = (number(claim.size - claim.allowed, 2), number(claim.size + claim.allowed, 2))
            compared = _less(claim.left, claim.right, claim) + _pairs(claim.paired)
            return f"{compared}: from {ends[0]} to {ends[1]} {unit(claim)}"
        case claims.Equal():
            compared = _less(claim.left, claim.right, claim) + _pairs(claim.paired)
            return f"{compared}: within ± {claim.margin:g} {unit(claim)}"
        case claims.FailsAndTrains():
            return f"runs that fail, {claim.left} against {claim.right}"
        case claims.Average():
            pairs = [_less(*pair, claim) for pair in zip(claim.left, claim.right, strict=True)]
            return f"mean of {listed(pairs)}"
        case claims.Relative():
            pairs = [_less(*pair, claim) for pair in zip(claim.left, claim.right, strict=True)]
            ends = (number(claim.size - claim.margin, 1), number(claim.size + claim.margin, 1))
            return (
                f"mean of {listed(pairs)}, each in percent of the right: from {ends[0]} to "
                f"{ends[1]} %"
            )
        case claims.Monotone():
            return f"{' → '.join(claim.order)}: every step {claim.change} {_metric(claim)}"
        case claims.Best():
            return f"{claim.left} against {listed(claim.rivals)}, by {_metric(claim)}"
        case claims.Faster():
            return f"epochs to {claim.accuracy_pct:g} %, {claim.left} against {claim.right}"
        case _:
            assert_never(claim)


def counted(question: Fails | Faster) -> Cell:
    """Return a cell with the numbers of a claim that compares no means."""
    if isinstance(question, Fails):
        counts_of_arms = [arm.counts for arm in question.arms]
        rates = [
            f"{counts.dead + counts.diverged} of {counts.finished}" for counts in counts_of_arms
        ]
        return Cell(f"{rates[0]} fail", f"against {rates[1]}")
    medians = [statistics.median_high(times) if times else math.nan for times in question.epochs]
    never = [
        f"{sum(math.isinf(time) for time in times)} of {len(times)}" for times in question.epochs
    ]
    median_texts = [
        NOTHING if math.isnan(m) else "never" if math.isinf(m) else f"{m:g}" for m in medians
    ]
    return Cell(
        f"{median_texts[0]} against {median_texts[1]} epochs",
        f"medians; never: {never[0]} against {never[1]}",
    )


_HOW = {
    "greater": "greater: the difference is above 0",
    "about": "a size: the difference is in the region that the claim declares, and its "
    "direction is "
    "judged apart; "
    "where the direction holds and the size is contradicted, the claim is partly reproduced",
    "equal": "equal: the difference is within the margin, by two one-sided tests",
    "fails-and-trains": "fails and trains: Boschloo's exact test of dead and diverged runs, "
    "with half or more of "
    "the "
    "first condition's and half or fewer of the second's; contradicted where surely fewer than "
    "half fail",
    "average": "average: a contrast over the conditions (Satterthwaite's degrees of freedom)",
    "relative": "relative: the mean of ratios, its variance by the delta method",
    "monotone": "a chain: every step is above 0, by its weakest link, which is shown (Berger 1982)",
    "best": "best: above every rival, by the closest of them, which is shown (Berger 1982)",
    "faster": "faster: the rank test of Gehan (1965), exact; a run that never arrives is "
    "behind all "
    "that do",
}


def note(declared: Sequence[AnyClaim], family: str) -> str:
    """Return the note under the table of claims."""
    how = "; ".join(_HOW[kind] for kind in dict.fromkeys(claim.kind for claim in declared))
    if any(claims.images(claim) == "train" for claim in declared):
        how += (
            ". The train images: a fixed part of the train split, evaluated as the test images are"
        )
    paired = (
        " Pairs: runs of one training, compared within themselves."
        if any(_is_paired(c) for c in declared)
        else ""
    )
    return (
        "Differences say how much better left is: accuracy, or how much lower error or loss, "
        "over converged runs by "
        f"Welch's t with ν degrees of freedom. How each claim is judged - {how}. Where p "
        f"({family}) is below 0.05, the "
        f"claim is reproduced or contradicted; otherwise it is inconclusive.{paired}"
    )


def _is_paired(claim: AnyClaim) -> bool:
    return bool(getattr(claim, "paired", False))


def _pairs(paired: bool) -> str:
    return ", run by run" if paired else ""


def _metric(claim: Measured) -> str:
    metric = {"top1": "accuracy", "error": "error", "loss": "loss"}[claim.metric]
    return f"test {metric}" if claim.split == "test" else f"{metric} on the train images"


def _less(left: str, right: str, claim: Measured) -> str:
    """Return the difference in words, in the order for which a value above 0 means that left is
    better.
    """
    if claim.metric == "top1":
        return f"{left} − {right}" + (f" in {_metric(claim)}" if claim.split == "train" else "")
    return f"{right} − {left} in {_metric(claim)}"
