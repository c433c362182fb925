"""How long a study will take: from past runs before it begins, from its own steps while it runs. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from resnetlab.runs.records import RunRecord
from resnetlab.studies.plan import PlannedRun

STEPS = 20
"""Of a run, before its pace is believed."""


@dataclass
class _Pace:
    """Of one run: where and when it was first and last seen."""

    first_step: int
    first_time: float
    step: int
    time: float

    @property
    def known(self) -> bool:
        return self.step - self.first_step >= STEPS

    @property
    def seconds_per_step(self) -> float:
        return (self.time - self.first_time) / (self.step - self.first_step)


class Estimate:
    """Watches the steps of a study's runs and tells the seconds that are left."""

    def __init__(self, runs: Iterable[PlannedRun], finished: Iterable[str], workers: int) -> None:
        self.runs = {run.id: run for run in runs}
        self.left = set(self.runs) - set(finished)
        self.workers = max(1, workers)
        self.paces: dict[str, _Pace] = {}
        self.totals: dict[str, int] = {}

    def see(self, run_id: str, step: int, total: int, now: float) -> None:
        """A run stands at `step` of `total` at the time `now`, in seconds of any clock."""
        pace = self.paces.setdefault(run_id, _Pace(step, now, step, now))
        pace.step, pace.time = step, now
        self.totals[run_id] = total

    def done(self, run_id: str) -> None:
        """A run needs no more time."""
        self.left.discard(run_id)

    def seconds_left(self) -> float | None:
        """For all runs that are left, on all workers; None until one has taken 20 steps.

        A condition takes the pace of its own runs; one that has not begun, that of the others by its multiply-adds.
        """
        known = {run_id: pace for run_id, pace in self.paces.items() if pace.known}
        if not known:
            return None
        by_condition: dict[str, list[float]] = {}
        for run_id, pace in known.items():
            by_condition.setdefault(self.runs[run_id].condition, []).append(pace.seconds_per_step * self.totals[run_id])
        whole = {condition: sum(times) / len(times) for condition, times in by_condition.items()}
        per_mac = sum(pace.seconds_per_step * self.totals[i] / self.runs[i].macs for i, pace in known.items()) / len(
            known
        )
        seconds = 0.0
        longest = 0.0
        for run_id in self.left:
            run = self.runs[run_id]
            total = self.totals.get(run_id, 0)
            share = 1 - self.paces[run_id].step / total if total else 1.0
            rest = share * whole.get(run.condition, per_mac * run.macs)
            seconds += rest
            longest = max(longest, rest)
        return max(longest, seconds / self.workers)


def expected_seconds(run: PlannedRun, past: Sequence[RunRecord]) -> float | None:
    """What a run will take by the throughput of finished ones with its numerics; None when there are none.

    Runs of the same network on the same images say it best; else all are asked by their multiply-adds.
    """
    file = run.file
    alike = [record for record in past if record.file.run.numerics == file.run.numerics and record.result is not None]
    speeds = [(record.file, record.result.images_per_second) for record in alike if record.result]
    same = [
        speed
        for other, speed in speeds
        if speed and other.run.model == file.run.model and other.run.data.sha256 == file.run.data.sha256
    ]
    if same:
        speed = median(same)
    else:
        rates = [speed * other.macs for other, speed in speeds if speed and other.macs]
        if not rates or not file.macs:
            return None
        speed = median(rates) / file.macs
    return run.macs / file.macs / speed if file.macs else None
