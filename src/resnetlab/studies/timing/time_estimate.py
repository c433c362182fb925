"""Estimates of the time that a study needs. Free of torch.

Before a study begins they use past runs; while it runs they use its own steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, median
from typing import Any, Literal

from resnetlab.data.config import Split
from resnetlab.runs.config import RunConfig
from resnetlab.runs.records import Result, RunRecord, Scores
from resnetlab.studies.plan import PlannedRun

MIN_STEPS = 20
"""Number of steps of a run before its speed is used."""


@dataclass
class _StepTimes:
    """Progress of a run: step and time of the first and of the latest message."""

    first_step: int
    first_time: float
    step: int
    time: float

    @property
    def has_enough_steps(self) -> bool:
        """True if the run has taken enough steps for an estimate."""
        return self.step - self.first_step >= MIN_STEPS

    @property
    def seconds_per_step(self) -> float:
        """Mean seconds per step."""
        return (self.time - self.first_time) / (self.step - self.first_step)


class TimeEstimator:
    """Estimator of the seconds that a study still needs, from the steps of its runs."""

    def __init__(
        self, runs: Iterable[PlannedRun], finished: Iterable[str], parallel_runs: int
    ) -> None:
        self.runs = {run.id: run for run in runs}
        self.unfinished = set(self.runs) - set(finished)
        self.parallel_runs = max(1, parallel_runs)
        self.step_times: dict[str, _StepTimes] = {}
        self.total_steps: dict[str, int] = {}

    def update(self, run_id: str, step: int, total: int, now: float) -> None:
        """Record that a run took `step` of `total` steps at `now`, in seconds of any clock."""
        times = self.step_times.setdefault(run_id, _StepTimes(step, now, step, now))
        if step < times.step:  # another attempt starts from an earlier checkpoint
            times.first_step, times.first_time = step, now
        times.step, times.time = step, now
        self.total_steps[run_id] = total

    def mark_finished(self, run_id: str) -> None:
        """Record that a run needs no more time."""
        self.unfinished.discard(run_id)

    def seconds_left(self) -> float | None:
        """Return the seconds for all unfinished runs; None until a run has taken 20 steps.

        The time of a condition comes from its own runs. For a condition without such a run,
        it comes from the other runs, in proportion to multiply-adds.
        """
        known = {
            run_id: times.seconds_per_step * self.total_steps[run_id]
            for run_id, times in self.step_times.items()
            if times.has_enough_steps
        }
        if not known:
            return None
        by_condition: dict[str, list[float]] = {}
        for run_id, seconds in known.items():
            by_condition.setdefault(self.runs[run_id].condition, []).append(seconds)
        seconds_by_condition = {name: mean(values) for name, values in by_condition.items()}
        # An external network of which no operation is counted has no multiply-adds.
        counted = {run_id: self.runs[run_id].train_macs for run_id in known}
        seconds_per_mac = mean(
            [known[run_id] / macs for run_id, macs in counted.items() if macs] or [0.0]
        )
        total_seconds = longest = 0.0
        for run_id in self.unfinished:
            run = self.runs[run_id]
            total = self.total_steps.get(run_id, 0)
            share = 1 - self.step_times[run_id].step / total if total else 1.0
            by_macs = seconds_per_mac * run.train_macs
            run_seconds = share * seconds_by_condition.get(run.condition, by_macs)
            total_seconds += run_seconds
            longest = max(longest, run_seconds)
        return max(longest, total_seconds / self.parallel_runs)


@dataclass(frozen=True)
class Timing:
    """Measured speed of a network on this machine."""

    train_images_per_second: float
    evaluation_images_per_second: float


Basis = Literal["past runs", "timed steps", "past runs of other networks"]
"""Basis of an estimate, from the best to the worst."""


@dataclass(frozen=True)
class TimeEstimate:
    """Estimate of the time of one run, in seconds."""

    train_seconds: float
    evaluation_seconds: float
    basis: Basis

    @property
    def seconds(self) -> float:
        """Seconds of training and evaluation together."""
        return self.train_seconds + self.evaluation_seconds


@dataclass(frozen=True)
class _Speed:
    """Median speed of some finished runs."""

    macs_per_second: float
    seconds_per_evaluated_mac: float | None
    """None if no evaluation was recorded."""
    evaluation_seconds: float
    """Seconds of all evaluations of a run."""


class PastSpeeds:
    """Speeds of finished runs, from which the time of a planned run is estimated.

    The runs are grouped once, so that an estimate does not read all of them again.
    """

    def __init__(self, records: Iterable[RunRecord]) -> None:
        self._runs: dict[tuple[Any, ...], list[tuple[RunRecord, Result]]] = {}
        self._speeds: dict[tuple[Any, ...], _Speed] = {}
        for record in records:
            run, result = record.config, record.result
            if result is not None and result.images_per_second and record.file.macs:
                for key in (_network_key(run), (run.numerics,)):
                    self._runs.setdefault(key, []).append((record, result))

    def expected_time(self, run: PlannedRun, timing: Timing | None = None) -> TimeEstimate | None:
        """Return the time that a run will take, or None if nothing tells it.

        Finished runs of the same network on the same images with the same numerics tell it best,
        then a timing on this machine, then finished runs of other networks, in proportion to
        multiply-adds.
        """
        file = run.file
        if not file.macs:
            return None
        images = run.train_macs / file.macs
        same = self._speed(_network_key(file.run))
        if same is None and timing is not None:
            return TimeEstimate(
                images / timing.train_images_per_second,
                run.evaluation_images / timing.evaluation_images_per_second,
                "timed steps",
            )
        speed = same or self._speed((file.run.numerics,))
        if speed is None:
            return None
        # The speeds are multiply-adds per second; for the same network the factor cancels.
        seconds_per_mac = speed.seconds_per_evaluated_mac
        evaluation = (
            0.0 if seconds_per_mac is None else seconds_per_mac * file.macs * run.evaluation_images
        )
        if same and not run.evaluation_images:
            evaluation = same.evaluation_seconds
        basis: Basis = "past runs" if same else "past runs of other networks"
        return TimeEstimate(images / (speed.macs_per_second / file.macs), evaluation, basis)

    def _speed(self, key: tuple[Any, ...]) -> _Speed | None:
        """Return the median speed of a group of runs, or None if there is no such run."""
        if key not in self._speeds and key in self._runs:
            runs = self._runs[key]
            seconds_per_mac = [
                result.evaluation_seconds / (evaluated * record.file.macs)
                for record, result in runs
                if (evaluated := _evaluated_images(record, result))
            ]
            self._speeds[key] = _Speed(
                median(result.images_per_second * record.file.macs for record, result in runs),
                median(seconds_per_mac) if seconds_per_mac else None,
                median(result.evaluation_seconds for _, result in runs),
            )
        return self._speeds.get(key)


def _network_key(run: RunConfig) -> tuple[Any, ...]:
    """Return the key of the runs of a network on the same images with the same numerics."""
    return run.numerics, run.model, run.data.sha256


def _evaluated_images(record: RunRecord, result: Result) -> int:
    """Return the number of images in all evaluations of a finished run.

    It is 0 for a run whose curve is not recorded.
    """
    limit = record.file.data.curve_images
    images: dict[Split, Scores | None] = {
        "train": result.train,
        "validation": result.validation,
        "test": result.test,
    }
    in_train_mode = record.train_mode.curve if record.train_mode else ()
    counts = Counter(line.split for line in (*record.metrics, *in_train_mode))
    total = 0
    for split, scores in images.items():
        if scores is not None:
            total += scores.images if in_train_mode else 0
            part = min(scores.images, limit or scores.images)
            total += counts[split] * part
            total += scores.images if part < scores.images or not counts[split] else 0
    return total if counts else 0
