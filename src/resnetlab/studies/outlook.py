"""Outlook on a plan: expected time and the smallest difference that its seeds can detect.

Free of torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from resnetlab.runs.records import RunRecord
from resnetlab.stats.intervals import variance
from resnetlab.stats.power import minimum_detectable_effect, required_runs
from resnetlab.studies.eta import expected_seconds
from resnetlab.studies.parsing.power_checks import plan_warnings
from resnetlab.studies.plan import Plan, StudyRecord


@dataclass(frozen=True)
class ConditionOutlook:
    """Outlook on a condition: runs, expected time and spread."""

    label: str
    runs: int
    to_do: int
    seconds: float | None
    """Expected seconds to train a run, from the throughput of past runs; None without a comparable
    run.
    """
    sd_points: float | None
    """Standard deviation of the test accuracy of its trained runs; None for fewer than two."""
    measured_runs: int
    """Number of trained runs with a test accuracy."""


@dataclass(frozen=True)
class Outlook:
    """Outlook on a plan before it is run."""

    study: str
    runs: int
    finished: int
    workers: int
    conditions: tuple[ConditionOutlook, ...]
    detectable_effect_sds: float | None
    """Smallest difference that the seeds detect with 80 % power, in standard
    deviations of a run; None for one seed.
    """
    seeds_for_one_sd: int
    """Seeds per condition that detect one standard deviation with 80 % power."""
    warnings: tuple[str, ...]
    """Claims that the seeds may not decide."""

    @property
    def seconds(self) -> float | None:
        """Return the training seconds of all runs to do on one worker, or None if one of the times
        is unknown.
        """
        unfinished = [condition for condition in self.conditions if condition.to_do]
        known = [
            condition.to_do * condition.seconds
            for condition in unfinished
            if condition.seconds is not None
        ]
        return sum(known) if len(known) == len(unfinished) else None


def outlook(
    plan: Plan,
    record: StudyRecord,
    past_records: Sequence[RunRecord],
    unfinished_ids: Collection[str],
    workers: int,
) -> Outlook:
    """Return the outlook on a plan whose runs `unfinished_ids` are to do, on `workers`
    processes.
    """
    conditions = []
    for condition in plan.study.conditions:
        runs = [run for run in plan.runs if run.condition == condition.label]
        results = [
            cell.record.result
            for cell in record.runs_of(condition.label)
            if cell.record is not None
        ]
        values = [
            100 - r.test.top1_error_pct for r in results if r and r.status == "trained" and r.test
        ]
        conditions.append(
            ConditionOutlook(
                condition.label,
                len(runs),
                sum(run.id in unfinished_ids for run in runs),
                expected_seconds(runs[0], past_records),
                variance(values) ** 0.5 if len(values) > 1 else None,
                len(values),
            )
        )
    seeds = len(plan.study.seeds)
    return Outlook(
        plan.study.name,
        len(plan.runs),
        len(plan.runs) - len(unfinished_ids),
        workers,
        tuple(conditions),
        minimum_detectable_effect(seeds) if seeds > 1 else None,
        math.ceil(required_runs(1.0)),
        plan_warnings(plan.study.claims, seeds, plan.study.references),
    )


def to_dict(plan_outlook: Outlook) -> dict[str, Any]:
    """Return the outlook as plain values, for `--json`."""
    smallest = plan_outlook.detectable_effect_sds
    conditions = [
        {
            "condition": row.label,
            "runs": row.runs,
            "to_do": row.to_do,
            "train_seconds_each": row.seconds,
            "sd_points": row.sd_points,
            "smallest_difference_points": smallest * row.sd_points
            if smallest and row.sd_points is not None
            else None,
        }
        for row in plan_outlook.conditions
    ]
    seconds = plan_outlook.seconds
    return {
        "study": plan_outlook.study,
        "runs": plan_outlook.runs,
        "finished": plan_outlook.finished,
        "to_do": plan_outlook.runs - plan_outlook.finished,
        "workers": plan_outlook.workers,
        "worker_seconds": seconds,
        "train_seconds": seconds / max(1, plan_outlook.workers) if seconds is not None else None,
        "smallest_difference_sds": smallest,
        "seeds_for_one_sd": plan_outlook.seeds_for_one_sd,
        "conditions": conditions,
        "notes": plan_outlook.warnings,
    }
