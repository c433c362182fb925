"""Sentences about claims and comparisons, by rule from verdicts, estimates and intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

from resnetlab.reports.format import decimals
from resnetlab.reports.study.source_questions.verdicts import conclusion
from resnetlab.reports.study.source_questions.writer import AnswerWriter
from resnetlab.stats.contrasts import Effect, welch
from resnetlab.stats.hypothesis_types import (
    FailureHypothesis,
    Hypothesis,
    MeansHypothesis,
    SpeedHypothesis,
)
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval, mean, t_interval, within_range
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies import claims
from resnetlab.studies.claims import AnyClaim, ClaimSplit, Metric, condition_labels

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis
    from resnetlab.studies.parsing.questions import Evidence

ANSWER_STATUSES = {
    "reproduced": "supported",
    "partly reproduced": "partly supported",
    "untestable": "not testable",
    "waiting": "not finished",
}
"""Status of an answer by the label of its verdict, where the two differ."""


@dataclass(frozen=True)
class Finding:
    """Piece of an answer: its status, its sentences, and the conditions that it is about."""

    status: str
    text: str
    conditions: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    """Sentences before the text with the values; those that the finding before has too are said
    once.
    """
    note: str = ""
    """Sentence about the method, said once at the end of the answer."""
    missing_condition: str = ""
    """Condition that was not run, for a finding without text."""
    missing_claim: str = ""
    """Statement of a claim whose conditions were not all run, for a finding without text."""


def claim_findings(
    writer: AnswerWriter, analysis: StudyAnalysis, evidence: Evidence
) -> Iterator[Finding]:
    """Yield a finding for each claim whose statement begins as the evidence says."""
    for beginning in evidence.claims:
        indices = [
            index
            for index, claim in enumerate(analysis.study.claims)
            if claim.statement.startswith(beginning)
        ]
        for index in indices:
            yield _claim_finding(writer, analysis, index)
        left_out = [text for text in analysis.study.left_out if text.startswith(beginning)]
        for statement in left_out if left_out or indices else [beginning]:
            yield Finding("not run", "", missing_claim=statement)


def comparison_finding(
    writer: AnswerWriter, analysis: StudyAnalysis, label: str, against: str
) -> Finding:
    """Compare the test accuracy of two conditions: by the claim about them if there is one, and
    without a verdict if not.
    """
    for index, claim in enumerate(analysis.study.claims):
        if (
            isinstance(claim, claims.Better | claims.Equivalent | claims.About)
            and {claim.left, claim.right} == {label, against}
            and (claim.metric, claim.split) == ("top1", "test")
        ):
            return _claim_finding(writer, analysis, index)
    sides = _sides(writer, analysis, label, against, "top1", "test")
    values = [analysis.summaries[name].trained_pct for name in (label, against)]
    if min(map(len, values)) < 2:
        text = writer.say(
            "There are too few trained runs for a comparison.",
            "Il y a trop peu d'essais entraînés pour une comparaison.",
        )
        return Finding("inconclusive", text, (label, against), (sides,))
    effect = welch(*values)
    direction = _sign_sentence(writer, effect.interval(), label, against)
    note = writer.say(
        "The interval of a comparison that no claim declares is not corrected for the number of "
        "comparisons.",
        "L'intervalle d'une comparaison qu'aucune affirmation ne déclare n'est pas corrigé du "
        "nombre de comparaisons.",
    )
    sentences = (sides, _difference(writer, effect))
    return Finding("exploratory", direction, (label, against), sentences, note)


def accuracy_text(writer: AnswerWriter, analysis: StudyAnalysis, label: str) -> str:
    """Return the mean test accuracy of a condition in words: `47.1 % [45.0, 49.2] (5 of 5 runs
    trained)`; empty without a trained run.
    """
    return _accuracy(writer, analysis, label, "top1", "test")


def _sign_sentence(writer: AnswerWriter, interval: Interval, label: str, against: str) -> str:
    better, worse = (label, against) if interval.low > 0 else (against, label)
    if interval.low <= 0 <= interval.high:
        return writer.say(
            "The interval contains zero: these runs do not show which of the two is more accurate.",
            "L'intervalle contient zéro : ces essais ne montrent pas lequel des deux est le plus "
            "précis.",
        )
    return writer.say(
        f"In these runs {writer.label(better)} is more accurate than {writer.label(worse)}.",
        f"Dans ces essais, {writer.label(better)} est plus précis que {writer.label(worse)}.",
    )


def _claim_finding(writer: AnswerWriter, analysis: StudyAnalysis, index: int) -> Finding:
    claim, verdict = analysis.study.claims[index], analysis.verdicts[index]
    values = _claim_values(writer, analysis, claim, analysis.hypotheses[index], verdict)
    decided = verdict.label in ("reproduced", "partly reproduced", "contradicted")
    trained_only = (
        writer.say("Only trained runs are compared.", "Seuls les essais entraînés sont comparés.")
        if verdict.trained_runs_only and decided
        else ""
    )
    status = "equivalent" if verdict.label == "reproduced" and claim.kind == "equal" else ""
    return Finding(
        status or ANSWER_STATUSES.get(verdict.label, verdict.label),
        conclusion(writer, claim, verdict),
        condition_labels(claim),
        values,
        trained_only,
    )


def _claim_values(
    writer: AnswerWriter,
    analysis: StudyAnalysis,
    claim: AnyClaim,
    hypothesis: Hypothesis,
    verdict: Verdict,
) -> tuple[str, ...]:
    """Return the sentences with the values that a claim is about."""
    match claim:
        case claims.FailsAndTrains():
            assert isinstance(hypothesis, FailureHypothesis), hypothesis
            return (_failures(writer, claim, hypothesis),)
        case claims.Faster():
            assert isinstance(hypothesis, SpeedHypothesis), hypothesis
            return (_times(writer, claim, hypothesis),)
        case claims.Better() | claims.Equivalent() | claims.About():
            start = _sides(writer, analysis, claim.left, claim.right, claim.metric, claim.split)
        case claims.Average() | claims.Relative():
            start = _pairs(writer, claim)
        case claims.Every():
            count = writer.count("pairs", len(claim.left))
            least = _least_supporting(writer, claim, hypothesis, verdict)
            start = writer.say(
                f"In each of {count} pairs of conditions, the first one is compared with the "
                f"second: {_pair_labels(writer, claim)}.{least}",
                f"Dans chacune des {count} paires de conditions, la première est comparée à la "
                f"seconde : {_pair_labels(writer, claim)}.{least}",
            )
        case claims.Monotone():
            order = writer.labels(claim.order)
            least = _least_supporting(writer, claim, hypothesis, verdict)
            start = writer.say(
                f"In the order {order}, each condition is compared with the next one.{least}",
                f"Dans l'ordre {order}, chaque condition est comparée à la suivante.{least}",
            )
        case claims.Best():
            left = writer.label(claim.left)
            start = writer.say(
                f"{left} is compared with each of {writer.labels(claim.rivals)}; this is the "
                "closest one.",
                f"{left} est comparé à chacun de {writer.labels(claim.rivals)} ; voici le plus "
                "proche.",
            )
        case _:
            assert_never(claim)
    if verdict.effect is None:
        return (start,)
    metric = claim.metric
    unit: Unit = "%" if isinstance(claim, claims.Relative) else "points"
    if metric == "loss" and unit == "points":
        unit = "nats"
    tests = sum(1 + (item.direction is not None) for item in analysis.verdicts)
    return start, _difference(writer, verdict.effect, unit, verdict, metric != "top1", tests)


def _least_supporting(
    writer: AnswerWriter,
    claim: claims.Every | claims.Monotone,
    hypothesis: Hypothesis,
    verdict: Verdict,
) -> str:
    """Name the two conditions whose difference the verdict gives, in a sentence.

    It is empty for a claim about one difference or none, and if missing runs changed it.
    """
    assert isinstance(hypothesis, MeansHypothesis), hypothesis
    labels = tuple(dict.fromkeys(condition_labels(claim)))
    if verdict.effect is None or len(hypothesis.weights) == 1:
        return ""
    effects = hypothesis.effects([arm.trained for arm in hypothesis.arms])
    for weights, effect in zip(hypothesis.weights, effects, strict=True):
        if effect == verdict.effect:
            left = writer.label(labels[weights.index(1.0)])
            right = writer.label(labels[weights.index(-1.0)])
            return writer.say(
                f" {left} against {right} supports the claim least.",
                f" {left} contre {right} est la comparaison la moins favorable à l'affirmation.",
            )
    return ""


Unit = Literal["points", "nats", "%"]
"""Unit of a difference; % is of the second condition's value."""


def _difference(
    writer: AnswerWriter,
    effect: Effect,
    unit: Unit = "points",
    verdict: Verdict | None = None,
    decrease: bool = False,
    tests: int = 1,
) -> str:
    """Return the difference, its interval and its p-value in a sentence.

    With `decrease` it is how much lower the first one is. The p-value is corrected for the number
    of `tests` of the study.
    """
    interval = (
        None
        if effect.is_deterministic
        else effect.interval(verdict.confidence if verdict else 0.95)
    )
    digits = 3 if unit == "nats" else decimals(interval)
    size = writer.number("difference", effect.estimate, digits, signed=True)
    ends = writer.interval("difference", interval, digits)
    p = "" if verdict is None else _p_text(writer, verdict.p_holm, tests)
    units = {
        "points": ("points", writer.points_fr(effect.estimate)),
        "nats": ("nats", "nat" if abs(effect.estimate) < 2 else "nats"),
        "%": ("%", "%"),
    }[unit]
    names = ("The decrease", "La baisse") if decrease else ("The difference", "L'écart")
    return writer.say(
        f"{names[0]} is {size} {units[0]}{ends}{p}.",
        f"{names[1]} est de {size} {units[1]}{ends}{p}.",
    )


def _p_text(writer: AnswerWriter, p: float | None, tests: int) -> str:
    if p is None:
        return ""
    small = p < 0.001
    name = "p" if tests == 1 else "corrected p"
    text = writer.number(name + (", below" if small else ""), 0.001 if small else p, 3)
    relation = "<" if small else "="
    if tests == 1:
        return f", p {relation} {text}"
    number = writer.count("tests of the study", tests)
    return writer.say(
        f", p {relation} {text} after the correction for the {number} tests of the study",
        f", p {relation} {text} après correction pour les {number} tests de l'étude",
    )


_METRICS = {
    ("top1", "test"): ("test accuracy", "précision sur les images de test"),
    ("top1", "train"): ("train accuracy", "précision sur les images d'entraînement"),
    ("error", "test"): ("test error", "erreur sur les images de test"),
    ("error", "train"): ("train error", "erreur sur les images d'entraînement"),
    ("loss", "test"): ("test loss", "perte sur les images de test"),
    ("loss", "train"): ("train loss", "perte sur les images d'entraînement"),
}
"""Names of a metric on a split in English and French."""


def _sides(
    writer: AnswerWriter,
    analysis: StudyAnalysis,
    left: str,
    right: str,
    metric: Metric,
    split: ClaimSplit,
) -> str:
    """Say what both conditions of a comparison reached."""
    reached = [_accuracy(writer, analysis, label, metric, split) for label in (left, right)]
    metric_en, metric_fr = _METRICS[metric, split]
    if not all(reached):
        parts = [
            writer.say(
                f"{writer.label(label)} reached a {metric_en} of {value}",
                f"{writer.label(label)} atteint une {metric_fr} de {value}",
            )
            if value
            else no_trained_run(writer, analysis, label)
            for label, value in zip((left, right), reached, strict=True)
        ]
        return writer.say(f"{parts[0]}, and {parts[1]}.", f"{parts[0]}, et {parts[1]}.")
    return writer.say(
        f"{writer.label(left)} reached a {metric_en} of {reached[0]}, and {writer.label(right)} "
        f"one of {reached[1]}.",
        f"{writer.label(left)} atteint une {metric_fr} de {reached[0]}, et {writer.label(right)} "
        f"de {reached[1]}.",
    )


def no_trained_run(writer: AnswerWriter, analysis: StudyAnalysis, label: str) -> str:
    """Say that no run of a condition was above chance."""
    runs = writer.count(f"finished runs of {label}", analysis.summaries[label].counts.finished)
    return writer.say(
        f"{writer.label(label)} has no trained run ({runs} finished)",
        f"{writer.label(label)} n'a aucun essai entraîné ({runs} terminés)",
    )


def _accuracy(
    writer: AnswerWriter, analysis: StudyAnalysis, label: str, metric: Metric, split: ClaimSplit
) -> str:
    """Return the mean of the trained runs with its interval and counts; "" if none has a value."""
    values = analysis.metric_values(label, metric, split)
    if not values:
        return ""
    loss = metric == "loss"
    counts = analysis.summaries[label].counts
    of_runs = (
        writer.count(f"trained runs of {label}", counts.trained),
        writer.count(f"finished runs of {label}", counts.ended),
    )
    possible = Interval(0.0, math.inf) if loss else ACCURACY_RANGE_PCT
    interval = within_range(t_interval(values), possible)
    digits = 3 if loss else decimals(interval)
    metric_name = {"top1": "accuracy", "error": "error", "loss": "loss"}[metric]
    name = f"{split} {metric_name} of {label}"
    size = writer.number(name, mean(values), digits)
    ends = writer.interval(name, interval, digits)
    return writer.say(
        f"{size} {'nats' if loss else '%'}{ends} ({of_runs[0]} of {of_runs[1]} runs trained)",
        f"{size} {'nats' if loss else '%'}{ends} ({of_runs[0]} sur {of_runs[1]} essais entraînés)",
    )


def _pairs(writer: AnswerWriter, claim: claims.Average | claims.Relative) -> str:
    count = writer.count("pairs", len(claim.left))
    metric_en, metric_fr = _METRICS[claim.metric, claim.split]
    pairs = _pair_labels(writer, claim)
    if isinstance(claim, claims.Relative):
        return writer.say(
            f"The change of the {metric_en}, in percent of the second one, is averaged over "
            f"{count} pairs of conditions: {pairs}.",
            f"La variation de la {metric_fr}, en pourcentage du second, est moyennée sur {count} "
            f"paires de conditions : {pairs}.",
        )
    return writer.say(
        f"The {metric_en} is averaged over {count} pairs of conditions: {pairs}.",
        f"La {metric_fr} est moyennée sur {count} paires de conditions : {pairs}.",
    )


def _pair_labels(
    writer: AnswerWriter, claim: claims.Average | claims.Relative | claims.Every
) -> str:
    """Return the pairs of conditions of a claim: `“a” against “b”; “c” against “d”`."""
    against = writer.say("against", "contre")
    pairs = zip(claim.left, claim.right, strict=True)
    return writer.join(
        [f"{writer.label(left)} {against} {writer.label(right)}" for left, right in pairs]
    )


def _failures(
    writer: AnswerWriter, claim: claims.FailsAndTrains, hypothesis: FailureHypothesis
) -> str:
    parts = []
    for label, arm in zip((claim.left, claim.right), hypothesis.arms, strict=True):
        counts = arm.counts
        failed = writer.count(f"failed runs of {label}", counts.at_chance + counts.diverged)
        finished = writer.count(f"finished runs of {label}", counts.ended)
        parts.append(
            writer.say(
                f"{failed} of {finished} runs of {writer.label(label)}",
                f"{failed} sur {finished} pour {writer.label(label)}",
            )
        )
    return writer.say(
        f"Failed runs (at chance or diverged): {parts[0]} and {parts[1]}.",
        f"Essais échoués (au niveau du hasard ou divergents) : {parts[0]} et {parts[1]}.",
    )


def _times(writer: AnswerWriter, claim: claims.Faster, hypothesis: SpeedHypothesis) -> str:
    goal = writer.count("accuracy to reach", claim.accuracy_pct)
    parts = []
    for label, times in zip((claim.left, claim.right), hypothesis.epochs, strict=True):
        median = statistics.median_high(times) if times else math.inf
        needed = (
            writer.say("more epochs than it had", "plus d'époques qu'il n'en a eu")
            if math.isinf(median)
            else writer.say(
                f"{writer.count(f'median epochs of {label}', median)} epochs",
                f"{writer.count(f'median epochs of {label}', median)} époques",
            )
        )
        parts.append(
            writer.say(
                f"{writer.label(label)} needs {needed}", f"{writer.label(label)} demande {needed}"
            )
        )
    return writer.say(
        f"To reach {goal} % accuracy, {parts[0]} and {parts[1]} (medians).",
        f"Pour atteindre {goal} % de précision, {parts[0]} et {parts[1]} (médianes).",
    )
