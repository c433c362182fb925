"""The first sentence of a report: the main claim, what its two conditions reached, the verdict."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from resnetlab.analysis.training_share import training_share
from resnetlab.reports.format import (
    capitalize_first,
    decimals,
    format_interval,
    format_number,
    format_pct,
    format_value,
    join_words,
)
from resnetlab.reports.study import ensembles
from resnetlab.reports.study.text import protocol_sentence
from resnetlab.stats.intervals import (
    ACCURACY_RANGE_PCT,
    ConditionSummary,
    Interval,
    mean,
    t_interval,
    within_range,
)
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies.claims import About, AnyClaim, Better, ClaimSplit, Equivalent, FailsAndTrains
from resnetlab.studies.measure import TEST_ACCURACY, Measure
from resnetlab.translation import tr, tr_count, tr_study, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def headline(analysis: StudyAnalysis) -> str:
    """Return the first sentence of a report: the answer of the study."""
    claims, verdicts = analysis.study.claims, analysis.verdicts
    if not analysis.counts.is_complete:
        progress = tr(
            "{finished:,} of {planned}",
            finished=analysis.counts.finished,
            planned=tr_count(analysis.counts.planned, "run"),
        )
        reason = (
            tr("claims are tested after the last run")
            if claims
            else tr("the means may still change")
        )
        if analysis.counts.finished == 1:
            return tr("{progress} is finished: {reason}.", progress=progress, reason=reason)
        return tr("{progress} are finished: {reason}.", progress=progress, reason=reason)
    if not claims:
        return _without_claims(analysis)
    first = _comparison(analysis, claims[0], verdicts[0])
    protocol = protocol_sentence(analysis)
    if len(claims) == 1:
        return " ".join(filter(None, (f"{_sentence_start(analysis, first)}.", protocol)))
    words = Counter(_quoted(verdict) for verdict in verdicts)
    summary = tr(
        "All {claims} claims are {verdict}", claims=len(claims), verdict=_quoted(verdicts[0])
    )
    if len(words) > 1:
        numbers = [
            tr("{n} is {verdict}", n=n, verdict=word)
            if n == 1
            else tr("{n} are {verdict}", n=n, verdict=word)
            for word, n in words.items()
        ]
        summary = tr(
            "Of {claims} claims, {numbers}", claims=len(claims), numbers=join_words(numbers)
        )
    return " ".join(
        filter(None, (tr("{summary}; the first: {first}.", summary=summary, first=first), protocol))
    )


def _sentence_start(analysis: StudyAnalysis, sentence: str) -> str:
    """Return a sentence with a capital, unless it begins with the name of imported runs."""
    return sentence if analysis.study.imported else capitalize_first(sentence)


def _quoted(verdict: Verdict) -> str:
    """Return the phrase of a verdict, in quotes if it names a protocol."""
    phrase = tr(verdict.phrase)
    return tr("“{phrase}”", phrase=phrase) if verdict.is_limited else phrase


def _comparison(analysis: StudyAnalysis, claim: AnyClaim, verdict: Verdict) -> str:
    word = tr(verdict.phrase)
    if verdict.is_decided_by_trained_runs:
        word = tr("{verdict}, trained runs only", verdict=word)
    why = f" ({tr(verdict.reason.message)})" if verdict.reason else ""
    if not isinstance(claim, Better | About | Equivalent | FailsAndTrains):
        statement = tr_study(claim.statement.strip()).rstrip(".")
        return tr("{statement}: {verdict}", statement=statement, verdict=word + why)
    if not isinstance(claim, FailsAndTrains) and (claim.metric == "loss" or claim.split == "train"):
        compared = _loss_or_train_comparison(analysis, claim)
        return tr("{statement}: {verdict}", statement=compared, verdict=word + why)
    left, right = analysis.summaries[claim.left], analysis.summaries[claim.right]
    measure = analysis.study.measure
    first = describe_accuracy(claim.left, left, measure)
    text = f"{first}, {describe_accuracy(claim.right, right, measure)}"
    if left.interval_pct and right.interval_pct:
        digits = decimals(right.interval_pct, measure.unit)
        reached = format_value(right.mean_pct, digits, measure.unit)
        rate = tr(
            "({trained} of {finished})",
            trained=right.counts.trained,
            finished=right.counts.ended,
        )
        text = tr(
            "{left}, against {other} for {right} {rate}",
            left=first,
            other=f"{reached} {format_interval(right.interval_pct, digits)}",
            right=claim.right,
            rate=rate,
        )
    return tr("{statement}: {verdict}", statement=text, verdict=word + why)


def _metric_text(split: ClaimSplit, loss: bool) -> str:
    if split == "train":
        return tr("train loss" if loss else "train accuracy")
    return tr("test loss" if loss else "test accuracy")


def _loss_or_train_comparison(analysis: StudyAnalysis, claim: Better | About | Equivalent) -> str:
    """Compare both sides of a claim about loss or train images in words.

    The result is the claim's own sentence if a side has no trained run.
    """
    loss = claim.metric == "loss"
    sides = []
    for label in (claim.left, claim.right):
        values = analysis.metric_values(label, "loss" if loss else "top1", claim.split)
        if not values:
            return tr_study(claim.statement.strip()).rstrip(".")
        possible = Interval(0.0, math.inf) if loss else ACCURACY_RANGE_PCT
        interval = within_range(t_interval(values), possible)
        digits = 3 if loss else decimals(interval)
        reached = format_pct(mean(values), digits)
        if loss:
            reached = tr("{values} nats", values=format_number(mean(values), digits))
        sides.append(f"{reached} {format_interval(interval, digits)}" if interval else reached)
    counts = [analysis.summaries[label].counts for label in (claim.left, claim.right)]
    left_rate, right_rate = (
        tr("{trained} of {finished}", trained=side.trained, finished=side.ended) for side in counts
    )
    return tr(
        "{left} reached {left_value} {metric} ({left_rate} trained), against {right_value} for "
        "{right} ({right_rate})",
        left=claim.left,
        left_value=sides[0],
        metric=_metric_text(claim.split, loss),
        left_rate=left_rate,
        right_value=sides[1],
        right=claim.right,
        right_rate=right_rate,
    )


def describe_accuracy(
    label: str, summary: ConditionSummary, measure: Measure = TEST_ACCURACY
) -> str:
    """Describe an accuracy: `plain 56 reached 23.4 % [18.2, 28.6] ... (4 of 5 trained)`."""
    counts = summary.counts
    rate = tr("{trained} of {finished} trained", trained=counts.trained, finished=counts.ended)
    if counts.out_of_memory:
        return tr("{label} ran out of memory", label=label)
    if summary.mean_pct is None:
        return tr("{label} has no trained run ({rate})", label=label, rate=rate)
    if summary.interval_pct is None:
        digits = decimals(None, measure.unit)
        return tr(
            "{label} reached {mean} in its one trained run ({rate})",
            label=label,
            mean=format_value(summary.mean_pct, digits, measure.unit),
            rate=rate,
        )
    digits = decimals(summary.interval_pct, measure.unit)
    return tr(
        "{label} reached {mean} {interval} {measure} ({rate})",
        label=label,
        mean=format_value(summary.mean_pct, digits, measure.unit),
        interval=format_interval(summary.interval_pct, digits),
        measure=tr_word(measure.name),
        rate=rate,
    )


def _without_claims(analysis: StudyAnalysis) -> str:
    labels = list(analysis.summaries)
    measure = analysis.study.measure
    described = [
        describe_accuracy(label, analysis.summaries[label], measure) for label in labels[:4]
    ]
    accuracies = join_words(described)
    hidden = len(labels) - 4
    more = (
        tr(", and {hidden} more below", hidden=tr_count(hidden, "condition")) if hidden > 0 else ""
    )
    together = ensembles.ensemble_sentence(analysis)
    why = tr("the study declares no claim")
    if analysis.study.imported:
        why = tr("no claim is given")
    elif analysis.study.left_out:
        why = tr("its claims need conditions that were left out")
    share = None
    if not analysis.study.imported:
        share = training_share(analysis.study, analysis.data_by_label, labels)
    start = _sentence_start(analysis, f"{tr(share.message)}, {accuracies}" if share else accuracies)
    return tr("{start}{more}; {why}, so there is no verdict.", start=start, more=more, why=why) + (
        together and f" {together}"
    )
