"""Interface of a tracker: a program of others that shows runs. Free of torch."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from resnetlab.data.config import SPLITS
from resnetlab.errors import input_error
from resnetlab.nested import flatten_table
from resnetlab.runs.records import Evaluation, Result, RunFile
from resnetlab.schema import encode

TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")
"""Names of the trackers, which are also those of their packages and of the extras."""


class UnknownRunError(Exception):
    """Error of a tracker that does not have the run of a handle any more."""


@dataclass(frozen=True)
class TrackedRun:
    """Run of a study, as a tracker shows it."""

    id: str
    """Name of the run's folder."""
    study: str
    condition: str
    seed: int
    file: RunFile
    """Content of run.json."""

    @property
    def title(self) -> str:
        """Name of the run in the tracker."""
        return f"{self.condition}, seed {self.seed}"

    def config(self) -> dict[str, str | int | float | bool]:
        """Return the configuration as flat fields, such as `recipe.optimizer.lr`."""
        fields: dict[str, str | int | float | bool] = {
            "study": self.study,
            "condition": self.condition,
            "run": self.id,
            "parameters": self.file.parameters,
        }
        return fields | _flatten(encode(self.file.run))


class Tracker(Protocol):
    """Program of others that shows runs. Any of its methods may fail; training goes on."""

    command: str
    """Command that shows the runs."""

    def open_run(self, run: TrackedRun, handle: str) -> str:
        """Begin a run, or continue the one that `handle` names; return its handle.

        Raises UnknownRunError if the tracker does not have the run of `handle`.
        """

    def log(self, handle: str, evaluations: Sequence[Evaluation]) -> None:
        """Add evaluations to the curves of an open run."""

    def close_run(self, handle: str, result: Result, files: Sequence[Path]) -> None:
        """Add the final values and the files of a finished run, and end it."""

    def log_report(self, study: str, folder: Path) -> None:
        """Add the report of a study with its figures."""

    def close(self) -> None:
        """Write what is still in memory."""


def make_tracker(name: str, root: Path) -> Tracker:
    """Return the tracker `name`, which writes under the output folder `root` unless its own
    environment variables name another place.

    Raises InputError for an unknown name, or if its package is not installed.
    """
    if name not in TRACKERS:
        allowed = ", ".join(TRACKERS)
        raise input_error("--track", "not a tracker", "--track mlflow", got=name, allowed=allowed)
    if importlib.util.find_spec(name) is None:
        message = f"the package {name} is not installed"
        raise input_error("--track", message, f'pip install "resnetlab[{name}]"', got=name)
    module = importlib.import_module(f"resnetlab.tracking.to_{name}")
    create: Callable[[Path], Tracker] = module.create_tracker
    return create(root)


def values_of(evaluation: Evaluation) -> dict[str, float]:
    """Return the values of an evaluation by their names in the tracker."""
    split = evaluation.split.replace(" ", "-")
    values = {f"{split}/accuracy_pct": 100 - evaluation.top1_error_pct, "epoch": evaluation.epoch}
    if evaluation.loss_nats is not None:
        values[f"{split}/loss_nats"] = evaluation.loss_nats
    return values


def final_values(result: Result) -> dict[str, float]:
    """Return the final values of a run by their names in the tracker."""
    values = {"final/train_seconds": result.train_seconds}
    for split in SPLITS:
        if (scores := getattr(result, split)) is not None:
            values[f"final/{split}_accuracy_pct"] = scores.top1_accuracy_pct
            if scores.loss_nats is not None:
                values[f"final/{split}_loss_nats"] = scores.loss_nats
    return values


def report_files(folder: Path) -> list[Path]:
    """Return the files of a report that people look at: the page, its figures and its tables."""
    names = ("report.html", "report.md", "results.csv", "curves.csv")
    files = [folder / name for name in names if (folder / name).is_file()]
    return [*files, *sorted((folder / "figures").glob("*.svg"))]


def _flatten(table: dict[str, Any]) -> dict[str, str | int | float | bool]:
    """Flatten nested tables; a value that is no text, number or switch becomes a text."""
    return {
        name: value if isinstance(value, str | int | float | bool) else str(value)
        for name, value in flatten_table(table).items()
    }
