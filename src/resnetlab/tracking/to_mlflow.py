"""Runs in MLflow: an experiment for each study, in `mlflow.db` under the output folder.

The environment variable MLFLOW_TRACKING_URI names another store or a server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnetlab.runs.records import Evaluation, Result
from resnetlab.shell import command_line
from resnetlab.tracking.base import (
    TrackedRun,
    UnknownRunError,
    final_values,
    report_files,
    values_of,
)

MAX_PARAM_LENGTH = 500
"""Number of characters of a parameter that every store of MLflow accepts."""
MAX_PARAMS, MAX_METRICS = 100, 1000
"""Numbers of parameters and of values that MLflow accepts at once."""


class MlflowTracker:
    """Runs that `mlflow ui` shows."""

    def __init__(self, root: Path) -> None:
        """Open the store."""
        from mlflow import MlflowClient, entities

        self._entities: Any = entities
        # An unreachable server shall say so in seconds; MLflow itself would retry for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        store = uri or f"sqlite:///{root / 'mlflow.db'}"
        self.command = command_line(["mlflow", "ui", "--backend-store-uri", store])
        self._artifacts = None if uri else (root / "mlartifacts").resolve().as_uri()
        root.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(uri or f"sqlite:///{(root / 'mlflow.db').resolve()}")

    def open_run(self, run: TrackedRun, handle: str) -> str:
        """Begin a run with its parameters, or continue it; the handle is MLflow's id.

        Raises UnknownRunError if the store has no run with this id: it was removed.
        """
        from mlflow.exceptions import MlflowException

        if handle:
            try:
                self._client.update_run(handle, status="RUNNING")
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    raise UnknownRunError(handle) from error
                raise
            return handle
        tags = {"condition": run.condition, "seed": str(run.seed), "resnetlab.run": run.id}
        created = self._client.create_run(
            self._experiment(run.study), tags=tags, run_name=run.title
        )
        params = [
            self._entities.Param(name, str(value)[:MAX_PARAM_LENGTH])
            for name, value in run.config().items()
        ]
        for start in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(created.info.run_id, params=params[start : start + MAX_PARAMS])
        return str(created.info.run_id)

    def log(self, handle: str, evaluations: Sequence[Evaluation]) -> None:
        """Add metrics."""
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(name, value, now, evaluation.step)
            for evaluation in evaluations
            for name, value in values_of(evaluation).items()
        ]
        for start in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(handle, metrics=metrics[start : start + MAX_METRICS])

    def close_run(self, handle: str, result: Result, files: Sequence[Path]) -> None:
        """Add the final values and the files, and end the run with its status."""
        now = int(time.time() * 1000)
        values = final_values(result).items()
        metrics = [self._entities.Metric(name, value, now, result.step) for name, value in values]
        self._client.log_batch(handle, metrics=metrics)
        self._client.set_tag(handle, "status", result.status)
        for file in files:
            self._client.log_artifact(handle, str(file))
        succeeded = result.status not in ("diverged", "out of memory")
        self._client.set_terminated(handle, "FINISHED" if succeeded else "FAILED")

    def log_report(self, study: str, folder: Path) -> None:
        """Add a run named `report` with the files of the report."""
        experiment = self._experiment(study)
        reports = self._client.search_runs([experiment], "tags.resnetlab = 'report'", max_results=1)
        if reports:
            run_id = reports[0].info.run_id
        else:
            tags = {"resnetlab": "report"}
            created = self._client.create_run(experiment, tags=tags, run_name="report")
            run_id = created.info.run_id
        for file in report_files(folder):
            path = "figures" if file.parent != folder else None
            self._client.log_artifact(run_id, str(file), path)
        self._client.set_terminated(run_id)

    def close(self) -> None:
        """Do nothing: every call is written at once."""

    def _experiment(self, study: str) -> str:
        experiment = self._client.get_experiment_by_name(study)
        if experiment is not None:
            return str(experiment.experiment_id)
        location = f"{self._artifacts}/{study}" if self._artifacts else None
        return str(self._client.create_experiment(study, artifact_location=location))


def create_tracker(root: Path) -> MlflowTracker:
    """Return the tracker."""
    return MlflowTracker(root)
