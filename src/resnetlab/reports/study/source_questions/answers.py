"""Answers to the questions of a study's sources, written by rule from the values of its runs.

A sentence about the runs is chosen by a verdict or an interval, and its numbers are theirs. The
explanation of a question comes from the catalog; it states no result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from resnetlab.analysis.study_data import QuestionAnswer
from resnetlab.analysis.training_share import TrainingShare, rounded_percent, training_share
from resnetlab.reports.study.source_questions.claims import (
    Finding,
    claim_findings,
    comparison_finding,
)
from resnetlab.reports.study.source_questions.groups import (
    ensemble_findings,
    first_converged_finding,
)
from resnetlab.reports.study.source_questions.observations import (
    OBSERVATIONS,
    grid_finding,
    measure_comparison,
)
from resnetlab.reports.study.source_questions.writer import AnswerWriter
from resnetlab.shell import command_line
from resnetlab.studies.parsing.questions import Evidence, Question, catalog_questions
from resnetlab.studies.published.bibliography import format_citation
from resnetlab.translation import LANGUAGES, tr_study, typeset_french, use_language

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def answer_all_questions(analysis: StudyAnalysis) -> tuple[QuestionAnswer, ...]:
    """Return the answer to each question of the study's sources; none for a study of another file
    than the catalog's.
    """
    questions = catalog_questions(analysis.study.file_name, analysis.study.question)
    return tuple(answer_question(analysis, question) for question in questions)


def answer_question(analysis: StudyAnalysis, question: Question) -> QuestionAnswer:
    """Return the answer to a question from the values of a study's runs."""
    measured: dict[str, str] = {}
    values: dict[str, float] = {}
    statuses: tuple[str, ...] = ()
    for language in LANGUAGES:
        writer = AnswerWriter(language)
        measured[language], statuses = _measured(writer, analysis, question)
        values |= writer.values
    why_fr = question.why_fr[:1].lower() + question.why_fr[1:]
    return QuestionAnswer(
        number={
            "en": question.number,
            "fr": typeset_french(question.number_fr or question.number),
        },
        source=format_citation(question.source),
        mark=question.mark,
        statuses=statuses,
        question={"en": question.en, "fr": typeset_french(question.fr)},
        measured=measured,
        explanation={
            "en": f"In general: {question.why_en}",
            "fr": typeset_french(f"En général : {why_fr}"),
        },
        values=values,
    )


def _measured(
    writer: AnswerWriter, analysis: StudyAnalysis, question: Question
) -> tuple[str, tuple[str, ...]]:
    """Return the sentences about the runs and the status of each piece of evidence."""
    if not question.evidence:
        return "", ()
    if not analysis.counts.is_complete:
        finished = writer.count("finished runs", analysis.counts.finished)
        planned = writer.count("planned runs", analysis.counts.planned)
        text = writer.say(
            f"Not answered yet: {finished} of {planned} runs are finished.",
            f"Pas encore de réponse : {finished} essais sur {planned} sont terminés.",
        )
        return text, ("not finished",)
    findings = []
    for evidence in question.evidence:
        for finding in _findings(writer, analysis, evidence):
            findings.append(finding)
            writer.prefix = f"{len(findings) + 1}. "
    share = _share(analysis, findings)
    statuses = tuple(
        finding.status
        if share is None or finding.status == "not run"
        else f"{share.message}: {finding.status}"
        for finding in findings
    )
    writer.prefix = ""
    parts = [
        _opening(writer, share),
        *_sentences(findings),
        *_not_run(writer, analysis, findings),
    ]
    return " ".join(filter(None, parts)), statuses


def _sentences(findings: list[Finding]) -> Iterator[str]:
    """Yield the sentences of findings.

    Values that open a finding as they opened the one before are said once, and so is each note.
    """
    before: tuple[str, ...] = ()
    for finding in findings:
        values = itertools.zip_longest(finding.values, before)
        repeated = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], values))
        yield from finding.values[repeated:]
        yield finding.text
        before = finding.values
    yield from dict.fromkeys(finding.note for finding in findings)


def _findings(
    writer: AnswerWriter, analysis: StudyAnalysis, evidence: Evidence
) -> Iterator[Finding]:
    match evidence.kind:
        case "claims":
            yield from claim_findings(writer, analysis, evidence)
        case "grid":
            yield grid_finding(writer, analysis)
        case "ensemble":
            yield from ensemble_findings(writer, analysis)
        case "first that converged":
            yield first_converged_finding(writer, analysis)
        case _:
            yield from _condition_findings(writer, analysis, evidence)


def _condition_findings(
    writer: AnswerWriter, analysis: StudyAnalysis, evidence: Evidence
) -> Iterator[Finding]:
    """Yield the findings about the conditions that the evidence names, or that were not run."""
    labels = list(analysis.summaries)
    pairs: list[tuple[str, str]] = []
    for pattern in evidence.conditions:
        matching = [label for label in labels if fnmatchcase(label, pattern)]
        if not matching:
            yield Finding("not run", "", missing_condition=pattern)
        for label in matching:
            if evidence.kind in OBSERVATIONS:
                status, text = OBSERVATIONS[evidence.kind](writer, analysis, label)
                yield Finding(status, text, (label,))
            pairs.append((label, evidence.against))
    if not evidence.against:
        return
    if evidence.against not in labels:
        if pairs:
            yield Finding("not run", "", missing_condition=evidence.against)
        return
    for label, against in pairs:
        if evidence.kind == "compare":
            yield comparison_finding(writer, analysis, label, against)
        elif label != against:
            status, text = OBSERVATIONS[evidence.kind](writer, analysis, against)
            yield Finding(status, text, (against,))
            yield measure_comparison(writer, analysis, evidence.kind, label, against)


def _share(analysis: StudyAnalysis, findings: list[Finding]) -> TrainingShare | None:
    """Return the share of the training of all conditions of the findings, None for all of it."""
    labels = [label for finding in findings for label in finding.conditions]
    return training_share(analysis.study, analysis.data_by_label, labels) if labels else None


def _opening(writer: AnswerWriter, share: TrainingShare | None) -> str:
    """Say at which share of the full training the answer holds; empty for all of it."""
    if share is None:
        return ""
    if share.low is None or share.high is None:
        return writer.say(
            "At a reduced training, the runs show this; it is no answer at the full protocol.",
            "Avec un entraînement réduit, les essais montrent ceci ; ce n'est pas une réponse au "
            "protocole complet.",
        )
    low, high = (
        writer.count("share of the training, %", rounded_percent(value))
        for value in (share.low, share.high)
    )
    text = low if low == high else writer.say(f"{low} to {high}", f"{low} à {high}")
    return writer.say(
        f"At {text} % of the full training, the runs show this; it is no answer at the full "
        "protocol.",
        f"À {text} % de l'entraînement complet, les essais montrent ceci ; ce n'est pas une "
        "réponse au protocole complet.",
    )


def _is_left_out(analysis: StudyAnalysis, statement: str) -> bool:
    """Return True for a claim of the study whose conditions a command left out."""
    return any(text.startswith(statement) for text in analysis.study.left_out)


def _claim_names(writer: AnswerWriter, statements: Sequence[str]) -> str:
    """Return the claims in the writer's language, as a list of labels."""
    with use_language(writer.language):
        return writer.labels([tr_study(f"{text}.").rstrip(".") for text in statements])


def _not_run(
    writer: AnswerWriter, analysis: StudyAnalysis, findings: list[Finding]
) -> Iterator[str]:
    """Yield what is not answered because a condition was not run, and the command that runs it."""
    conditions = [item.missing_condition for item in findings if item.missing_condition]
    statements = [item.missing_claim.rstrip(".") for item in findings if item.missing_claim]
    if conditions:
        names = writer.labels(list(dict.fromkeys(conditions)))
        one = len(set(conditions)) == 1
        yield writer.say(
            f"Not answered: the condition {names} was not run."
            if one
            else f"Not answered: the conditions {names} were not run.",
            f"Sans réponse : la condition {names} n'a pas été entraînée."
            if one
            else f"Sans réponse : les conditions {names} n'ont pas été entraînées.",
        )
    left_out = [text for text in statements if _is_left_out(analysis, text)]
    if left_out:
        names = _claim_names(writer, left_out)
        yield writer.say(
            f"Not answered, as not all of their conditions were run: {names}.",
            f"Sans réponse, car leurs conditions n'ont pas toutes été entraînées : {names}.",
        )
    if absent := [text for text in statements if text not in left_out]:
        names = _claim_names(writer, absent)
        yield writer.say(
            f"Not answered, as the study of these runs did not have the claims: {names}.",
            f"Sans réponse, car l'étude de ces essais n'avait pas ces affirmations : {names}.",
        )
    if conditions or statements:
        command = command_line(["resnetlab", "study", "run", analysis.study.file_name])
        text = writer.label(command)
        yield writer.say(f"Command: {text}.", f"Commande : {text}.")
