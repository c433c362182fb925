"""Analysis of a study: from collected runs to summaries and verdicts, for reports and interim
looks.
"""

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
    """Evidence of a study with its summaries and verdicts."""

    evidence: Evidence
    counts: Counts
    """Outcomes of all runs of the study."""
    summaries: dict[str, Summary]
    """Summary of each condition, by its label."""
    questions: tuple[Question, ...]
    """Claims of the study as questions for the statistics, in their order."""
    verdicts: tuple[Verdict, ...]

    @property
    def study(self) -> Study:
        """Return the study of the evidence."""
        return self.evidence.study

    def rows(self, label: str) -> tuple[Row, ...]:
        """Return the planned runs of a condition, in the order of their seeds."""
        return tuple(self._rows.get(label, ()))

    def points(self, label: str) -> tuple[Point, ...]:
        """Return the evaluations of a condition's runs."""
        return tuple(self._points.get(label, ()))

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        return grouped(self.evidence.rows, _label)

    @cached_property
    def _points(self) -> dict[str, list[Point]]:
        return grouped(self.evidence.points, _label)

    def data(self, label: str) -> DataFacts:
        """Return the data of a condition."""
        return self._data[label]

    @cached_property
    def _data(self) -> dict[str, DataFacts]:
        return data_of(self.evidence)

    def style(self, label: str) -> int:
        """Return the number that selects the color, marker and line style of a condition in
        figures.

        Rungs and side rungs have fixed numbers. If the study varies the shortcut, the shortcut
        gives the number. Otherwise each condition has its own.
        """
        return self._styles[label]

    @cached_property
    def _styles(self) -> dict[str, int]:
        known = ("none", "A", "B", "C", "gated")
        kinds = {c.label: getattr(c.model, "shortcut", "") for c in self.study.conditions}
        varied = len(set(kinds.values())) > 1 and set(kinds.values()) <= set(known)
        styles = {
            label: known.index(kinds[label]) if varied else index
            for index, label in enumerate(kinds)
        }
        return styles | {rung.condition: 5 if rung.instead_of else 1 for rung in self.study.ladder}


def data_of(evidence: Evidence) -> dict[str, DataFacts]:
    """Return the data of each condition, by its label."""
    return {label: facts for facts in reversed(evidence.data) for label in facts.conditions}


def analyze(evidence: Evidence) -> StudyAnalysis:
    """Summarize the conditions and return them with the verdicts on the claims."""
    rows, points = grouped(evidence.rows, _label), grouped(evidence.points, _label)
    data, summaries, by_label = data_of(evidence), {}, {}
    for condition in evidence.study.conditions:
        label = condition.label
        condition_rows = rows.get(label, [])
        runs = [
            (row.status, None if row.test_error_pct is None else 100 - row.test_error_pct)
            for row in condition_rows
        ]
        summaries[label] = summarise(runs, 100 * data[label].class_share)
        by_label[label] = _runs(condition, data[label], condition_rows, points.get(label, []))
    counts = count(row.status for row in evidence.rows)
    return StudyAnalysis(
        evidence, counts, summaries, *judged(evidence.study, by_label, counts.complete)
    )


def _label(line: Row | Point) -> str:
    return line.condition


def _runs(
    condition: Condition, facts: DataFacts, rows: Iterable[Row], points: Iterable[Point]
) -> Runs:
    """Return the planned runs of a condition in the form that claims need."""
    curves: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for point in points:
        curve = curves.setdefault(point.seed, {}).setdefault(point.split, [])
        curve.append((point.epoch, 100 - point.top1_error_pct))
    runs = tuple(
        Ran(
            row.seed,
            row.status,
            row.test_error_pct,
            row.test_loss_nats,
            row.train_error_pct,
            row.train_loss_nats,
            {split: tuple(sorted(curve)) for split, curve in curves.get(row.seed, {}).items()},
        )
        for row in rows
    )
    epochs = condition.recipe.passes(facts.train_images)
    return Runs(runs, facts.class_share, len(facts.classes), epochs)
