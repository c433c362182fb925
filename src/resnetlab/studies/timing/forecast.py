"""Forecast for a plan: expected time and the smallest difference that its seeds can detect."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from resnetlab.stats.intervals import variance
from resnetlab.stats.power import minimum_detectable_effect, required_runs
from resnetlab.studies.parsing.power_checks import plan_warnings
from resnetlab.studies.plan import Plan, StudyRecord, group_by
from resnetlab.studies.timing.time_estimate import PastSpeeds, TimeEstimate, Timing


@dataclass(frozen=True)
class ConditionForecast:
    """Forecast for a condition: runs, expected time and spread."""

    label: str
    runs: int
    to_do: int
    time: TimeEstimate | None
    """Expected time of a run with its evaluations; None if nothing tells it."""
    sd_points: float | None
    """Standard deviation of the test accuracy of its trained runs; None for fewer than two."""
    measured_runs: int
    """Number of trained runs with a test accuracy."""
    shares_runs_with: str = ""
    """Label of the condition whose runs these are, evaluated in another mode; else empty."""


@dataclass(frozen=True)
class Forecast:
    """Forecast for a plan before it is run."""

    study: str
    runs: int
    finished: int
    workers: int
    conditions: tuple[ConditionForecast, ...]
    detectable_effect_sds: float | None
    """Smallest difference detected with 80 % power, in standard deviations; None for one seed."""
    seeds_for_one_sd: int
    """Seeds per condition that detect one standard deviation with 80 % power."""
    warnings: tuple[str, ...]
    """Claims that the seeds may not decide."""
    left_out: tuple[str, ...] = ()
    """Claims that need conditions which the command left out."""
    folder: str = ""
    """Folder of the report."""

    @property
    def shared(self) -> int:
        """Number of runs that serve two conditions."""
        return sum(condition.runs for condition in self.conditions) - self.runs

    @property
    def seconds(self) -> float | None:
        """Seconds of all runs on one worker, or None if one of the times is unknown."""
        times = self._times()
        return None if times is None else sum(number * time.seconds for number, time in times)

    @property
    def evaluation_seconds(self) -> float | None:
        """Part of `seconds` that evaluations take."""
        times = self._times()
        if times is None:
            return None
        return sum(number * time.evaluation_seconds for number, time in times)

    @property
    def wall_seconds(self) -> float | None:
        """Seconds from start to end on all workers: no less than the longest run."""
        times = self._times()
        if times is None:
            return None
        longest = max((time.seconds for _, time in times), default=0.0)
        total = sum(number * time.seconds for number, time in times)
        return max(longest, total / max(1, self.workers))

    def _times(self) -> list[tuple[int, TimeEstimate]] | None:
        """Return the number of runs to do and their time, for each condition with such runs."""
        unfinished = [condition for condition in self.conditions if condition.to_do]
        times = [(c.to_do, c.time) for c in unfinished if c.time is not None]
        return times if len(times) == len(unfinished) else None


def forecast(
    plan: Plan,
    record: StudyRecord,
    past: PastSpeeds,
    unfinished_ids: Collection[str],
    workers: int,
    timings: Mapping[str, Timing] | None = None,
    folder: str = "",
) -> Forecast:
    """Return the forecast for a plan whose runs `unfinished_ids` are to do, on `workers` processes.

    `timings` has the measured speed of each condition that was timed, by label; `folder` is the
    folder of the report.
    """
    conditions = []
    shared = plan.study.shared_runs
    runs_by_label = group_by(plan.runs, lambda run: run.condition)
    for condition in plan.study.conditions:
        label = condition.label
        runs = runs_by_label[label]
        results = [
            study_run.record.result
            for study_run in record.runs_of(label)
            if study_run.record is not None
        ]
        values = [
            r.test.top1_accuracy_pct for r in results if r and r.status == "trained" and r.test
        ]
        conditions.append(
            ConditionForecast(
                label,
                len(runs),
                0 if label in shared else sum(run.id in unfinished_ids for run in runs),
                past.expected_time(runs[0], (timings or {}).get(label)),
                variance(values) ** 0.5 if len(values) > 1 else None,
                len(values),
                shared.get(label, ""),
            )
        )
    seeds = len(plan.study.seeds)
    return Forecast(
        plan.study.name,
        len(plan.unique_runs),
        len(plan.unique_runs) - len(unfinished_ids),
        workers,
        tuple(conditions),
        minimum_detectable_effect(seeds) if seeds > 1 else None,
        math.ceil(required_runs(1.0)),
        plan_warnings(plan.study.claims, seeds, plan.study.references),
        plan.study.left_out,
        folder,
    )


def to_dict(plan_forecast: Forecast) -> dict[str, Any]:
    """Return the forecast as plain values, for `--json`."""
    smallest = plan_forecast.detectable_effect_sds
    conditions = [
        {
            "condition": row.label,
            "runs": row.runs,
            "shares_runs_with": row.shares_runs_with or None,
            "to_do": row.to_do,
            "train_seconds_each": row.time.train_seconds if row.time else None,
            "evaluation_seconds_each": row.time.evaluation_seconds if row.time else None,
            "basis": row.time.basis if row.time else None,
            "sd_points": row.sd_points,
            "smallest_difference_points": smallest * row.sd_points
            if smallest and row.sd_points is not None
            else None,
        }
        for row in plan_forecast.conditions
    ]
    return {
        "study": plan_forecast.study,
        "runs": plan_forecast.runs,
        "finished": plan_forecast.finished,
        "to_do": plan_forecast.runs - plan_forecast.finished,
        "workers": plan_forecast.workers,
        "worker_seconds": plan_forecast.seconds,
        "evaluation_worker_seconds": plan_forecast.evaluation_seconds,
        "wall_seconds": plan_forecast.wall_seconds,
        "smallest_difference_sds": smallest,
        "seeds_for_one_sd": plan_forecast.seeds_for_one_sd,
        "conditions": conditions,
        "notes": plan_forecast.warnings,
        "claims_left_out": plan_forecast.left_out,
        "report_folder": plan_forecast.folder or None,
    }
