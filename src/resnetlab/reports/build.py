"""From a study's evidence to its report: summaries, verdicts, and every word and number that a reader sees."""

from __future__ import annotations

from dataclasses import dataclass

from resnetlab.reports import beside, distances, ensembles, exploring, inside, ladder, plots, sentences, tables
from resnetlab.reports.evidence import DataFacts, Evidence, Row, gather
from resnetlab.reports.model import Cell, Report, shown
from resnetlab.stats.estimate import Summary, summarise
from resnetlab.stats.outcome import Counts, count
from resnetlab.stats.verdict import Question, Verdict
from resnetlab.studies.looks import judged
from resnetlab.studies.plan import StudyRecord
from resnetlab.studies.questions import Ran, Runs
from resnetlab.studies.spec import Condition, Study


@dataclass(frozen=True)
class Judged:
    """The evidence with what the statistics make of it."""

    evidence: Evidence
    counts: Counts
    """Of the whole study."""
    summaries: dict[str, Summary]
    """By condition's label."""
    questions: tuple[Question, ...]
    """The study's claims in numbers, in their order."""
    verdicts: tuple[Verdict, ...]

    @property
    def study(self) -> Study:
        return self.evidence.study

    def rows(self, label: str) -> tuple[Row, ...]:
        """The planned runs of a condition, by seed."""
        return tuple(row for row in self.evidence.rows if row.condition == label)

    def data(self, label: str) -> DataFacts:
        """The data of a condition."""
        return next(facts for facts in self.evidence.data if label in facts.conditions)

    def style(self, label: str) -> int:
        """Number of a condition's colour, mark and line: of a rung or a side rung, by shortcut where the study varies
        it, else its own."""
        for rung in self.study.ladder:
            if rung.condition == label:
                return 5 if rung.instead_of else 1
        known = ("none", "A", "B", "C", "gated")
        kinds = {c.label: getattr(c.model, "shortcut", "") for c in self.study.conditions}
        if len(set(kinds.values())) > 1 and set(kinds.values()) <= set(known):
            return known.index(kinds[label])
        return [condition.label for condition in self.study.conditions].index(label)


def build(record: StudyRecord, command: str = "") -> Report:
    """The report of a study, finished or not. `command` is what a person types to repeat it."""
    return assemble(gather(record, command))


def assemble(evidence: Evidence) -> Report:
    """The report of gathered evidence: the same evidence gives the same report."""
    judged = weigh(evidence)
    report = Report(
        name=evidence.study.name,
        question=evidence.study.question,
        about=evidence.study.about,
        banner=sentences.banner(judged),
        verdicts=tuple(
            Cell(claim.says, badge=verdict.word, note=verdict.qualified)
            for claim, verdict in zip(evidence.study.claims, judged.verdicts, strict=True)
        ),
        answer=sentences.answer(judged),
        dots=plots.dots(judged),
        limits=sentences.limits(judged),
        conditions=tables.conditions(judged),
        claims=tables.claims(judged),
        forest=plots.forest(judged),
        outcomes=tables.outcomes(judged),
        curves=plots.curves(judged),
        ledger=tables.ledger(judged),
        test_split=sentences.test_split(judged),
        command=sentences.command(judged),
        facts=tables.facts(judged),
        common=tables.settings(judged)[0],
        differing=tables.settings(judged)[1],
        made_by=sentences.made_by(judged),
        beside=beside.table(judged),
        protocols=beside.protocols(judged),
        distances=distances.table(judged),
        ensembles=ensembles.table(judged),
        alone=beside.alone(judged),
        ladder=ladder.section(judged),
        exploratory=exploring.table(judged),
        inside=inside.pictures(judged),
    )
    return shown(report)


def weigh(evidence: Evidence) -> Judged:
    """Summaries of the conditions and verdicts on the claims."""
    summaries = {}
    for condition in evidence.study.conditions:
        facts = next(facts for facts in evidence.data if condition.label in facts.conditions)
        rows = [row for row in evidence.rows if row.condition == condition.label]
        runs = [(row.status, None if row.test_error_pct is None else 100 - row.test_error_pct) for row in rows]
        summaries[condition.label] = summarise(runs, 100 * facts.class_share)
    counts = count(row.status for row in evidence.rows)
    by_label = {condition.label: _runs(evidence, condition) for condition in evidence.study.conditions}
    return Judged(evidence, counts, summaries, *judged(evidence.study, by_label, counts.complete))


def _runs(evidence: Evidence, condition: Condition) -> Runs:
    """A condition's planned runs as its claims see them."""
    facts = next(facts for facts in evidence.data if condition.label in facts.conditions)
    curves: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for point in evidence.points:
        if point.condition == condition.label:
            held = curves.setdefault(point.seed, {}).setdefault(point.split, [])
            held.append((point.epoch, 100 - point.top1_error_pct))
    runs = tuple(
        Ran(
            row.seed, row.status, row.test_error_pct, row.test_loss_nats, row.train_error_pct, row.train_loss_nats,
            {split: tuple(sorted(held)) for split, held in curves.get(row.seed, {}).items()},
        )
        for row in evidence.rows
        if row.condition == condition.label
    )  # fmt: skip
    recipe = condition.recipe
    epochs = recipe.total_steps(facts.train_images) / recipe.steps_per_epoch(facts.train_images)
    return Runs(runs, facts.class_share, len(facts.classes), epochs)
