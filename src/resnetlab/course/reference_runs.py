"""Reference runs of the exercises, and the prediction interval of one more run. Free of torch.

`catalog/course/reference-runs.csv` has one row for each run, with its provenance. The interval of
one new run is mean +- t s sqrt(1 + 1 / n), where n is the number of reference runs, s their
standard deviation and t the quantile of Student's distribution with n - 1 degrees of freedom (Hahn
and Meeker 1991, Statistical Intervals, sec. 4.8).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from resnetlab.data.pack import MANIFEST
from resnetlab.errors import input_error
from resnetlab.files import read_json
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval, clip, mean, variance
from resnetlab.stats.prediction import ReportedResult, prediction_interval

REFERENCE_FILE = "reference-runs.csv"

CONFIDENCE = 0.99
"""Probability with which the run of an honest student lies in the interval."""


@dataclass(frozen=True)
class ReferenceRun:
    """Reference run of an exercise. Accuracies are in percent."""

    exercise: str
    seed: int
    run: str
    data: str
    data_sha256: str
    parameters: int
    status: str
    train_accuracy_pct: float
    test_accuracy_pct: float
    test_loss_nats: float
    first_loss_nats: float
    train_seconds: float
    processor: str
    torch: str
    commit: str


COLUMNS = tuple(ReferenceRun.__annotations__)


@dataclass(frozen=True)
class ReferenceRuns:
    """Reference runs of one exercise."""

    runs: tuple[ReferenceRun, ...]

    @property
    def parameters(self) -> int:
        """Number of parameters of the network."""
        return self.runs[0].parameters

    @property
    def data_sha256(self) -> str:
        """SHA-256 of the data."""
        return self.runs[0].data_sha256

    @property
    def accuracies_pct(self) -> list[float]:
        """Test accuracy of each run."""
        return [run.test_accuracy_pct for run in self.runs]

    @property
    def mean_pct(self) -> float:
        """Mean of the test accuracies."""
        return mean(self.accuracies_pct)

    @property
    def sd_pct(self) -> float:
        """Standard deviation of the test accuracies (divisor n - 1)."""
        return float(variance(self.accuracies_pct) ** 0.5)

    @property
    def seconds(self) -> float:
        """Mean time of the training steps."""
        return mean([run.train_seconds for run in self.runs])

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the prediction interval of the test accuracy of one new run."""
        arms = [(self.accuracies_pct, ReportedResult(value=0.0))]
        return clip(prediction_interval(arms, confidence), ACCURACY_RANGE_PCT)

    def to_dict(self) -> dict[str, Any]:
        """Return a summary as plain values, for `--json`."""
        interval = self.interval()
        return {
            "runs": len(self.runs),
            "parameters": self.parameters,
            "data_sha256": self.data_sha256,
            "mean_accuracy_pct": self.mean_pct,
            "sd_pct": self.sd_pct,
            "mean_train_accuracy_pct": mean([run.train_accuracy_pct for run in self.runs]),
            "mean_first_loss_nats": mean([run.first_loss_nats for run in self.runs]),
            "interval_low_pct": interval.low,
            "interval_high_pct": interval.high,
            "train_seconds": self.seconds,
        }


@cache
def reference_runs() -> dict[str, ReferenceRuns]:
    """Return the reference runs by exercise."""
    path = resources.files("resnetlab.catalog") / "course" / REFERENCE_FILE
    by_exercise: dict[str, list[ReferenceRun]] = {}
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        run = ReferenceRun(
            exercise=row["exercise"],
            seed=int(row["seed"]),
            run=row["run"],
            data=row["data"],
            data_sha256=row["data_sha256"],
            parameters=int(row["parameters"]),
            status=row["status"],
            train_accuracy_pct=float(row["train_accuracy_pct"]),
            test_accuracy_pct=float(row["test_accuracy_pct"]),
            test_loss_nats=float(row["test_loss_nats"]),
            first_loss_nats=float(row["first_loss_nats"]),
            train_seconds=float(row["train_seconds"]),
            processor=row["processor"],
            torch=row["torch"],
            commit=row["commit"],
        )
        by_exercise.setdefault(run.exercise, []).append(run)
    return {name: ReferenceRuns(tuple(runs)) for name, runs in by_exercise.items()}


def accepted_data(exercise: str, data: str, pack: Path | None) -> dict[str, str]:
    """Return the accepted SHA-256 of an exercise's data, each with where it comes from.

    Args:
        exercise: Name of the exercise.
        data: Name of its data set.
        pack: Folder of `resnetlab data pack` with the data sets of the class, or None.

    Raises:
        InputError: The folder has no manifest, or one that is not valid.
    """
    reference = reference_runs().get(exercise)
    accepted = {reference.data_sha256: "the reference runs"} if reference else {}
    if pack is not None:
        accepted |= {digest: str(pack) for digest in _packed_sha256(pack, data)}
    return accepted


def _packed_sha256(pack: Path, data: str) -> list[str]:
    path = pack / MANIFEST if pack.is_dir() else pack
    table = read_json(path)
    try:
        return [entry["sha256"] for entry in table["data"] if entry["name"] == data]
    except (KeyError, TypeError):
        fix = "give the folder that `resnetlab data pack` wrote"
        raise input_error(str(path), "not a manifest of data sets", fix) from None
