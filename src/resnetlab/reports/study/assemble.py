"""From a study's evidence to its report: summaries, verdicts, and every word and number that a reader sees."""

from __future__ import annotations

from resnetlab.analysis.analyze import analyze
from resnetlab.analysis.study_data import Evidence, gather
from resnetlab.reports.document import Cell, Report, shown
from resnetlab.reports.study import (
    cost_plots,
    diagnostics,
    distances,
    ensembles,
    exploratory,
    ladder,
    plots,
    references,
    tables,
    text,
)
from resnetlab.studies.plan import StudyRecord


def build(record: StudyRecord, command: str = "") -> Report:
    """The report of a study, finished or not. `command` is what a person types to repeat it."""
    return assemble(gather(record, command))


def assemble(evidence: Evidence) -> Report:
    """The report of gathered evidence: the same evidence gives the same report."""
    judged = analyze(evidence)
    report = Report(
        name=evidence.study.name,
        question=evidence.study.question,
        about=evidence.study.about,
        banner=text.banner(judged),
        verdicts=tuple(
            Cell(claim.says, badge=verdict.word, note=verdict.qualified)
            for claim, verdict in zip(evidence.study.claims, judged.verdicts, strict=True)
        ),
        answer=text.answer(judged),
        dots=plots.dots(judged),
        limits=text.limits(judged),
        conditions=tables.conditions(judged),
        claims=tables.claims(judged),
        forest=plots.forest(judged),
        outcomes=tables.outcomes(judged),
        curves=plots.curves(judged),
        ledger=tables.ledger(judged),
        test_split=text.test_split(judged),
        command=text.command(judged),
        facts=tables.facts(judged),
        common=tables.settings(judged)[0],
        differing=tables.settings(judged)[1],
        made_by=text.made_by(judged),
        beside=references.table(judged),
        protocols=references.protocols(judged),
        distances=distances.table(judged),
        ensembles=ensembles.table(judged),
        alone=references.alone(judged),
        ladder=ladder.section(judged),
        exploratory=exploratory.table(judged),
        inside=diagnostics.pictures(judged),
        costs=cost_plots.pictures(judged),
    )
    return shown(report)
