"""From gathered runs to summaries and verdicts: what a report, or an interim look, is written from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from resnetlab.analysis.hypotheses import Ran, Runs
from resnetlab.analysis.interim import judged
from resnetlab.analysis.study_data import DataFacts, Evidence, Point, Row
from resnetlab.stats.intervals import Summary, summarise
from resnetlab.stats.outcomes import Counts, count
from resnetlab.stats.verdict import Question, Verdict
from resnetlab.studies.plan import grouped
from resnetlab.studies.study import Condition, Study


@dataclass(frozen=True)
class StudyAnalysis:
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
        return tuple(self._rows.get(label, ()))

    def points(self, label: str) -> tuple[Point, ...]:
        """The evaluations of a condition's runs."""
        return tuple(self._points.get(label, ()))

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        return grouped(self.evidence.rows, _label)

    @cached_property
    def _points(self) -> dict[str, list[Point]]:
        return grouped(self.evidence.points, _label)

    def data(self, label: str) -> DataFacts:
        """The data of a condition."""
        return self._data[label]

    @cached_property
    def _data(self) -> dict[str, DataFacts]:
        return data_of(self.evidence)

    def style(self, label: str) -> int:
        """Number of a condition's colour, mark and line: of a rung or a side rung, by shortcut where the study varies
        it, else its own."""
        return self._styles[label]

    @cached_property
    def _styles(self) -> dict[str, int]:
        known = ("none", "A", "B", "C", "gated")
        kinds = {c.label: getattr(c.model, "shortcut", "") for c in self.study.conditions}
        varied = len(set(kinds.values())) > 1 and set(kinds.values()) <= set(known)
        styles = {label: known.index(kinds[label]) if varied else place for place, label in enumerate(kinds)}
        return styles | {rung.condition: 5 if rung.instead_of else 1 for rung in self.study.ladder}


def data_of(evidence: Evidence) -> dict[str, DataFacts]:
    """The data of each condition, by its label."""
    return {label: facts for facts in reversed(evidence.data) for label in facts.conditions}


def analyze(evidence: Evidence) -> StudyAnalysis:
    """Summaries of the conditions and verdicts on the claims."""
    rows, points = grouped(evidence.rows, _label), grouped(evidence.points, _label)
    data, summaries, by_label = data_of(evidence), {}, {}
    for condition in evidence.study.conditions:
        label = condition.label
        held = rows.get(label, [])
        runs = [(row.status, None if row.test_error_pct is None else 100 - row.test_error_pct) for row in held]
        summaries[label] = summarise(runs, 100 * data[label].class_share)
        by_label[label] = _runs(condition, data[label], held, points.get(label, []))
    counts = count(row.status for row in evidence.rows)
    return StudyAnalysis(evidence, counts, summaries, *judged(evidence.study, by_label, counts.complete))


def _label(line: Row | Point) -> str:
    return line.condition


def _runs(condition: Condition, facts: DataFacts, rows: Iterable[Row], points: Iterable[Point]) -> Runs:
    """A condition's planned runs as its claims see them."""
    curves: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for point in points:
        held = curves.setdefault(point.seed, {}).setdefault(point.split, [])
        held.append((point.epoch, 100 - point.top1_error_pct))
    runs = tuple(
        Ran(
            row.seed, row.status, row.test_error_pct, row.test_loss_nats, row.train_error_pct, row.train_loss_nats,
            {split: tuple(sorted(held)) for split, held in curves.get(row.seed, {}).items()},
        )
        for row in rows
    )  # fmt: skip
    epochs = condition.recipe.passes(facts.train_images)
    return Runs(runs, facts.class_share, len(facts.classes), epochs)
