"""Report of a study, built from its evidence: summaries, verdicts, and all text and numbers."""

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
    """Build the report of a study, finished or not.

    `command` is the command that repeats the study.
    """
    return assemble(gather(record, command))


def assemble(evidence: Evidence) -> Report:
    """Build a report from evidence. The same evidence gives the same report."""
    analysis = analyze(evidence)
    report = Report(
        name=evidence.study.name,
        question=evidence.study.question,
        about=evidence.study.about,
        banner=text.banner(analysis),
        verdicts=tuple(
            Cell(claim.says, badge=verdict.word, note=verdict.qualified)
            for claim, verdict in zip(evidence.study.claims, analysis.verdicts, strict=True)
        ),
        answer=text.answer(analysis),
        dots=plots.dots(analysis),
        limits=text.limits(analysis),
        conditions=tables.conditions(analysis),
        claims=tables.claims(analysis),
        forest=plots.forest(analysis),
        outcomes=tables.outcomes(analysis),
        curves=plots.curves(analysis),
        ledger=tables.ledger(analysis),
        test_split=text.test_split(analysis),
        command=text.command(analysis),
        facts=tables.facts(analysis),
        common=tables.settings(analysis)[0],
        differing=tables.settings(analysis)[1],
        made_by=text.made_by(analysis),
        beside=references.table(analysis),
        protocols=references.protocols(analysis),
        distances=distances.table(analysis),
        ensembles=ensembles.table(analysis),
        alone=references.alone(analysis),
        ladder=ladder.section(analysis),
        exploratory=exploratory.table(analysis),
        inside=diagnostics.pictures(analysis),
        costs=cost_plots.pictures(analysis),
    )
    return shown(report)
