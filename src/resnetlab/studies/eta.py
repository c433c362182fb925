"""Estimates of the time that a study needs. Free of torch.

Before a study begins they use past runs; while it runs they use its own steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from resnetlab.runs.records import RunRecord
from resnetlab.studies.plan import PlannedRun

MIN_STEPS = 20
"""Number of steps of a run before its speed is used."""


@dataclass
class _Throughput:
    """Progress of a run: step and time of the first and of the latest message."""

    first_step: int
    first_time: float
    step: int
    time: float

    @property
    def has_enough_steps(self) -> bool:
        """Return True if the run has taken enough steps for an estimate."""
        return self.step - self.first_step >= MIN_STEPS

    @property
    def seconds_per_step(self) -> float:
        """Return the mean seconds per step."""
        return (self.time - self.first_time) / (self.step - self.first_step)


class TimeEstimator:
    """Estimator of the seconds that a study still needs, from the steps of its runs."""

    def __init__(self, runs: Iterable[PlannedRun], finished: Iterable[str], workers: int) -> None:
        self.runs = {run.id: run for run in runs}
        self.unfinished = set(self.runs) - set(finished)
        self.workers = max(1, workers)
        self.throughputs: dict[str, _Throughput] = {}
        self.total_steps: dict[str, int] = {}

    def update(self, run_id: str, step: int, total: int, now: float) -> None:
        """Record that a run has taken `step` of `total` steps at the time `now`, in seconds of any
        clock.
        """
        pace = self.throughputs.setdefault(run_id, _Throughput(step, now, step, now))
        pace.step, pace.time = step, now
        self.total_steps[run_id] = total

    def mark_finished(self, run_id: str) -> None:
        """Record that a run needs no more time."""
        self.unfinished.discard(run_id)

    def seconds_left(self) -> float | None:
        """Return the seconds for all unfinished runs on all workers; None until a run has taken 20
        steps.

        The time of a condition comes from its own runs. For a condition without such a run,
        it comes from the other runs, in proportion to multiply-adds.
        """
        known = {run_id: pace for run_id, pace in self.throughputs.items() if pace.has_enough_steps}
        if not known:
            return None
        by_condition: dict[str, list[float]] = {}
        for run_id, pace in known.items():
            by_condition.setdefault(self.runs[run_id].condition, []).append(
                pace.seconds_per_step * self.total_steps[run_id]
            )
        seconds_by_condition = {
            condition: sum(times) / len(times) for condition, times in by_condition.items()
        }
        per_mac = sum(
            pace.seconds_per_step * self.total_steps[i] / self.runs[i].macs
            for i, pace in known.items()
        ) / len(known)
        seconds = 0.0
        longest = 0.0
        for run_id in self.unfinished:
            run = self.runs[run_id]
            total = self.total_steps.get(run_id, 0)
            share = 1 - self.throughputs[run_id].step / total if total else 1.0
            run_seconds = share * seconds_by_condition.get(run.condition, per_mac * run.macs)
            seconds += run_seconds
            longest = max(longest, run_seconds)
        return max(longest, seconds / self.workers)


def expected_seconds(run: PlannedRun, past_records: Sequence[RunRecord]) -> float | None:
    """Return the seconds that a run will take, from the throughput of finished runs with the same
    numerics.

    If there are runs of the same network on the same images, only they count. Otherwise all runs
    count, in proportion to multiply-adds. The result is None if there is no such run.
    """
    file = run.file
    comparable = [
        record
        for record in past_records
        if record.file.run.numerics == file.run.numerics and record.result is not None
    ]
    speeds = [
        (record.file, record.result.images_per_second) for record in comparable if record.result
    ]
    same = [
        speed
        for other, speed in speeds
        if speed
        and other.run.model == file.run.model
        and other.run.data.sha256 == file.run.data.sha256
    ]
    if same:
        speed = median(same)
    else:
        rates = [speed * other.macs for other, speed in speeds if speed and other.macs]
        if not rates or not file.macs:
            return None
        speed = median(rates) / file.macs
    return run.macs / file.macs / speed if file.macs else None
