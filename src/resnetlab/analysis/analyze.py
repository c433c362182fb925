"""Analysis of a study: from collected runs to summaries and verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from resnetlab.analysis.hypotheses import ClaimRun, ConditionRuns, ScoreScale
from resnetlab.analysis.looks import claim_verdicts
from resnetlab.analysis.study_data import CurvePoint, DatasetInfo, RunRow, StudyData
from resnetlab.analysis.training_share import TrainingShare, training_share
from resnetlab.stats.contrasts import Effect, contrast, contrast_range, paired_difference
from resnetlab.stats.hypothesis_types import Hypothesis
from resnetlab.stats.intervals import ConditionSummary, Interval, summarize
from resnetlab.stats.outcomes import Outcome, OutcomeCounts, count_outcomes
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies.claims import ClaimSplit, Metric, condition_labels
from resnetlab.studies.imported_design import ImportedRuns
from resnetlab.studies.plan import group_by
from resnetlab.studies.study import Condition, Study

MAIN_RUNG_SERIES, SIDE_RUNG_SERIES = 1, 5
"""Numbers of the series of main rungs and of side rungs, which have two colors in all figures."""


@dataclass(frozen=True)
class StudyAnalysis:
    """Data of a study with its summaries and verdicts."""

    study_data: StudyData
    counts: OutcomeCounts
    """Outcomes of all runs of the study."""
    summaries: dict[str, ConditionSummary]
    """Summary of each condition, by its label."""
    hypotheses: tuple[Hypothesis, ...]
    """Claims of the study as hypotheses, in their order."""
    verdicts: tuple[Verdict, ...]
    shares: tuple[TrainingShare | None, ...] = ()
    """Share of the training behind each verdict; None for the training of the study file."""

    @property
    def study(self) -> Study:
        """Study whose runs are analyzed."""
        return self.study_data.study

    def rows(self, label: str) -> tuple[RunRow, ...]:
        """Return the planned runs of a condition, in the order of their seeds."""
        return tuple(self._rows.get(label, ()))

    def metric_values(self, label: str, metric: Metric, split: ClaimSplit) -> list[float]:
        """Return the values of a metric of the trained runs of a condition: accuracy (`top1`) and
        `error` in percent, `loss` in nats.
        """
        trained = (row for row in self.rows(label) if row.status == "trained")
        recorded = [row.metric(metric, split) for row in trained]
        return [value for value in recorded if value is not None]

    def points(self, label: str) -> tuple[CurvePoint, ...]:
        """Return the evaluations of a condition's runs."""
        return tuple(self._points.get(label, ()))

    @cached_property
    def _rows(self) -> dict[str, list[RunRow]]:
        return group_by(self.study_data.rows, _condition_of)

    @cached_property
    def _points(self) -> dict[str, list[CurvePoint]]:
        return group_by(self.study_data.curve_points, _condition_of)

    def difference(self, left: str, right: str) -> Effect:
        """Return the difference of the values of two conditions' trained runs, in its unit.

        Imported runs are compared by their declared design: in pairs, or with the correction for
        folds. Raises ValueError with fewer than 2 values or pairs.
        """
        imported, span = self.study.imported, self.study.measure.value_range
        values = (self.summaries[left].trained_pct, self.summaries[right].trained_pct)
        overlap = imported.overlap if imported else 0.0
        if imported and imported.paired_by:
            effect = paired_difference(self._pairs(left, right), overlap)
        else:
            effect = contrast(values, (1, -1), overlap)
        return replace(effect, value_range=contrast_range([span] * 2, (1, -1)))

    def has_difference(self, left: str, right: str) -> bool:
        """Return True if two conditions share enough runs for `difference`."""
        imported = self.study.imported
        return not (imported and imported.paired_by) or len(self._pairs(left, right)) > 1

    def _pairs(self, left: str, right: str) -> list[float]:
        values = [
            {row.seed: row.measured for row in self.rows(label) if row.status == "trained"}
            for label in (left, right)
        ]
        both = [(value, values[1].get(seed)) for seed, value in values[0].items()]
        return [a - b for a, b in both if a is not None and b is not None]

    def data(self, label: str) -> DatasetInfo:
        """Return the data of a condition."""
        return self.data_by_label[label]

    @cached_property
    def data_by_label(self) -> dict[str, DatasetInfo]:
        """Data of each condition, by its label."""
        return data_by_condition(self.study_data)

    def series_index(self, label: str) -> int:
        """Return the number of a condition among the series of figures.

        Rungs and side rungs have fixed numbers. If the study varies the shortcut, the shortcut
        gives the number. Otherwise each condition has its own.
        """
        return self._series_indices[label]

    @cached_property
    def _series_indices(self) -> dict[str, int]:
        known = ("none", "A", "B", "C", "gated")
        kinds = {c.label: getattr(c.model, "shortcut", "") for c in self.study.conditions}
        varied = len(set(kinds.values())) > 1 and set(kinds.values()) <= set(known)
        labels = self.summaries  # those of imported runs too, which have no conditions
        indices = {
            label: known.index(kinds[label]) if varied else index
            for index, label in enumerate(labels)
        }
        return indices | {
            rung.condition: SIDE_RUNG_SERIES if rung.instead_of else MAIN_RUNG_SERIES
            for rung in self.study.ladder
        }


def data_by_condition(study_data: StudyData) -> dict[str, DatasetInfo]:
    """Return the data of each condition, by its label."""
    return {label: dataset for dataset in reversed(study_data.data) for label in dataset.conditions}


def analyze(study_data: StudyData) -> StudyAnalysis:
    """Summarize the conditions and return them with the verdicts on the claims."""
    if study_data.study.imported:
        return _analyze_imported(study_data, study_data.study.imported)
    rows = group_by(study_data.rows, _condition_of)
    points = group_by(study_data.curve_points, _condition_of)
    data, summaries, by_label = data_by_condition(study_data), {}, {}
    for condition in study_data.study.conditions:
        label = condition.label
        condition_rows = rows.get(label, [])
        runs = [(row.status, row.measured) for row in condition_rows]
        summaries[label] = summarize(runs, 100 * data[label].class_share)
        by_label[label] = _condition_runs(
            condition, data[label], condition_rows, points.get(label, [])
        )
    study = study_data.study
    counts = _count_runs(study, study_data.rows)
    hypotheses, verdicts = claim_verdicts(study, by_label, counts.is_complete)
    shares = tuple(training_share(study, data, condition_labels(claim)) for claim in study.claims)
    limited = tuple(_limit(verdict, share) for verdict, share in zip(verdicts, shares, strict=True))
    return StudyAnalysis(study_data, counts, summaries, hypotheses, limited, shares)


def _analyze_imported(study_data: StudyData, imported: ImportedRuns) -> StudyAnalysis:
    """Summarize imported runs, whose training is not recorded."""
    rows = group_by(study_data.rows, _condition_of)
    points = group_by(study_data.curve_points, _condition_of)
    measure = imported.measure
    low, high = sorted(measure.sign * end for end in measure.value_range)
    summaries = {}
    by_label = {}
    for label in imported.conditions:
        summaries[label] = summarize(
            [(row.status, row.measured) for row in rows[label]],
            measure.known_chance,
            measure.value_range,
            imported.overlap,
        )
        curves: dict[int, list[tuple[float, float]]] = {}
        for point in points.get(label, []):
            if point.value is not None:
                curves.setdefault(point.seed, []).append((point.epoch, measure.sign * point.value))
        outcomes = tuple(
            ClaimRun(
                row.seed,
                row.status,
                score=None if row.value is None else measure.sign * row.value,
                curves={"test": tuple(sorted(curves.get(row.seed, [])))},
            )
            for row in rows[label]
        )
        scale = ScoreScale(measure.sign * measure.known_chance, Interval(low, high))
        epochs = max((point.epoch for point in points.get(label, [])), default=0.0)
        by_label[label] = ConditionRuns(outcomes, 0.0, 1, epochs, scale, imported.overlap)
    counts = count_outcomes(row.status for row in study_data.rows)
    hypotheses, verdicts = claim_verdicts(study_data.study, by_label, counts.is_complete)
    shares = (None,) * len(verdicts)
    return StudyAnalysis(study_data, counts, summaries, hypotheses, tuple(verdicts), shares)


def _count_runs(study: Study, rows: Iterable[RunRow]) -> OutcomeCounts:
    """Count the outcomes of all runs. A run that two conditions share counts once.

    It has its status in evaluation mode, unless it still has to be evaluated in training mode.
    """
    shared = study.shared_runs
    statuses: dict[tuple[str, int], Outcome] = {}
    for row in sorted(rows, key=lambda row: row.condition in shared):
        key = shared.get(row.condition, row.condition), row.seed
        if key not in statuses or row.status in ("waiting", "running"):
            statuses[key] = row.status
    return count_outcomes(statuses.values())


def _limit(verdict: Verdict, share: TrainingShare | None) -> Verdict:
    """Limit a verdict and that of its direction to the share of the training, if it is not all."""
    if share is None:
        return verdict
    direction = verdict.direction and replace(verdict.direction, protocol=share.message)
    return replace(verdict, protocol=share.message, direction=direction)


def _condition_of(row: RunRow | CurvePoint) -> str:
    return row.condition


def _condition_runs(
    condition: Condition,
    dataset: DatasetInfo,
    rows: Iterable[RunRow],
    points: Iterable[CurvePoint],
) -> ConditionRuns:
    """Return the planned runs of a condition in the form that claims need."""
    curves: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for point in points:
        curve = curves.setdefault(point.seed, {}).setdefault(point.split, [])
        curve.append((point.epoch, point.accuracy_pct))
    runs = tuple(
        ClaimRun(
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
    epochs = condition.recipe.num_epochs(dataset.train_images)
    return ConditionRuns(runs, dataset.class_share, len(dataset.classes), epochs)
