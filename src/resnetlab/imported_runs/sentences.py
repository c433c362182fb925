"""Sentences about the verdict of each claim: the difference, the seeds, and one for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resnetlab.analysis.analyze import StudyAnalysis
from resnetlab.messages import format_count
from resnetlab.reports.format import (
    decimals,
    format_forecast,
    format_interval,
    format_number,
    format_p_relation,
    format_signed,
)
from resnetlab.reports.study import estimands
from resnetlab.stats.hypothesis_types import Hypothesis, MeansHypothesis
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies.claims import About, AnyClaim, Better, Equivalent
from resnetlab.studies.measure import Measure


@dataclass(frozen=True)
class ClaimSentences:
    """Verdict of a claim in words and rounded numbers, as the command and the web page print it."""

    claim: str
    verdict: str
    """Verdict, with its restriction to trained runs if it has one."""
    reason: str
    """Reason of a verdict that does not follow from a p-value; empty otherwise."""
    difference: str
    """Difference, in the direction that is better, with its 95 % interval; empty without one."""
    seeds: str
    """Number of seeds that would decide an open claim; empty for a decided one."""
    sentence: str
    """Sentence for a paper."""


def claim_sentences(analysis: StudyAnalysis) -> tuple[ClaimSentences, ...]:
    """Return the sentences about each claim on imported runs."""
    counts = {}
    for label, summary in analysis.summaries.items():
        planned, trained = summary.counts.planned, summary.counts.trained
        counts[label] = f"{planned} runs" if trained == planned else f"{trained} of {planned} runs"
    study = analysis.study
    return describe_claims(
        study.claims, analysis.hypotheses, analysis.verdicts, study.measure, counts
    )


def describe_claims(
    claims: Sequence[AnyClaim],
    hypotheses: Sequence[Hypothesis],
    verdicts: Sequence[Verdict],
    measure: Measure,
    counts: Mapping[str, str],
) -> tuple[ClaimSentences, ...]:
    """Return the sentences about each claim.

    Args:
        claims: Claims.
        hypotheses: The claims as questions for the statistics.
        verdicts: Verdicts on them.
        measure: Measure of the values.
        counts: Number of runs of each condition, in words: `5 runs`.
    """
    corrected = len(claims) > 1 or any(verdict.direction for verdict in verdicts)
    return tuple(
        ClaimSentences(
            claim=claim.statement,
            verdict=str(verdict.qualified_phrase),
            reason=str(verdict.reason or ""),
            difference=_difference(claim, verdict, measure),
            seeds=_seeds(verdict),
            sentence=_sentence(claim, hypothesis, verdict, measure, counts, corrected),
        )
        for claim, hypothesis, verdict in zip(claims, hypotheses, verdicts, strict=True)
    )


def _seeds(verdict: Verdict) -> str:
    return f"{format_forecast(verdict.forecast)}." if verdict.forecast else ""


def _difference(claim: AnyClaim, verdict: Verdict, measure: Measure) -> str:
    """Return the difference with its interval: `+0.52 points, 95 % CI [0.26, 0.78]`."""
    effect = verdict.effect
    if effect is None:
        return ""
    interval, unit = effect.interval(), estimands.unit(claim, measure)
    digits = decimals(interval, measure.unit)
    digits = max(2, digits) if measure.unit == "%" else digits
    size = f"{format_signed(effect.estimate, digits)} {unit}"
    if effect.is_deterministic:
        return f"{size}, without an interval because the runs of each condition are equal"
    return f"{size}, 95 % CI {format_interval(interval, digits)}"


def _sentence(
    claim: AnyClaim,
    hypothesis: Hypothesis,
    verdict: Verdict,
    measure: Measure,
    counts: Mapping[str, str],
    corrected: bool,
) -> str:
    """Return the sentence for a paper about a claim."""
    statement = claim.statement.rstrip(".")
    end = f"the claim “{statement}” is {verdict.qualified_phrase}"
    if verdict.reason:
        end += f" ({verdict.reason})"
    name = estimands.test_name(claim, verdict)
    parts = [name + _region(claim, measure) if name else ""]
    if verdict.effect is not None and verdict.effect.df is not None:
        parts.append(f"ν = {format_number(verdict.effect.df)}")
    if verdict.p_holm is not None:
        p = "p after Holm's correction" if corrected else "p"
        parts.append(f"{p} {format_p_relation(verdict.p_holm)}")
    test = ", ".join(filter(None, parts))
    difference = _difference(claim, verdict, measure)
    if not difference or not isinstance(claim, Better | About | Equivalent):
        text = f" ({'; '.join(filter(None, (difference, test)))})" if difference or test else ""
        return f"{end[0].upper()}{end[1:]}{text}."
    assert isinstance(hypothesis, MeansHypothesis)
    over = f"{counts[claim.left]} of {claim.left} and {counts[claim.right]} of {claim.right}"
    if hypothesis.pairs is not None:
        pairs = format_count(len(hypothesis.pairs), "pair")
        over = f"{pairs} of runs of {claim.left} and {claim.right}"
    noun = "difference" if measure.higher_is_better else "reduction"
    return (
        f"Over {over}, the {noun} in {measure.name} is {difference}"
        f"{f' ({test})' if test else ''}; {end}."
    )


def _region(claim: AnyClaim, measure: Measure) -> str:
    """Return the region of a claim that is not "above 0": ` of a difference above 0.2 points`."""
    unit = estimands.unit(claim, measure)
    match claim:
        case Better():
            margin = claim.by_more_than
            return f" of a difference above {margin:g} {unit}" if margin else ""
        case Equivalent():
            return f" of a difference within ± {claim.margin:g} {unit}"
        case About():
            low, high = claim.size - claim.effective_margin, claim.size + claim.effective_margin
            return f" of a difference from {low:g} to {high:g} {unit}"
        case _:
            return ""
