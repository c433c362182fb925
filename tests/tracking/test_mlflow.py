"""MLflow reads the runs in the store of the output folder, and an unreachable server delays
training by seconds only.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from helpers.mlflow_runs import check_mlflow
from resnetlab.studies.execution import read_plan
from resnetlab.tracking.base import make_tracker
from resnetlab.tracking.tracker_copy import TrackerCopy, copy_reports


def test_runs_are_in_the_mlflow_store_of_the_output_folder(root: Path) -> None:
    plan = read_plan(root / "studies" / "small")
    lines: list[str] = []
    for _ in range(2):
        copy_reports(
            [TrackerCopy("mlflow", make_tracker("mlflow", root), plan, root)], lines.append
        )
    assert all("mlflow ui --backend-store-uri" in line for line in lines), lines
    check_mlflow(MlflowClient(f"sqlite:///{root / 'mlflow.db'}"), root)


def test_an_unreachable_server_is_reported_in_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow alone would try a dozen times with growing pauses, and wait minutes for an answer."""
    timeouts: list[float] = []

    def refuse(_: object, timeout: float, **__: object) -> None:
        timeouts.append(timeout)
        raise ConnectionRefusedError

    for variable in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    plan = read_plan(root / "studies" / "small")
    lines: list[str] = []
    copy_reports([TrackerCopy("mlflow", make_tracker("mlflow", root), plan, root)], lines.append)
    assert timeouts == [10, 10]  # one attempt and one retry
    (line,) = lines
    assert line.startswith("note: mlflow failed: ")
