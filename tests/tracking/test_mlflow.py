"""MLflow reads the runs in the store of the output folder, and an unreachable server delays
training by seconds only.
"""

from __future__ import annotations

import shutil
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


def test_a_removed_store_is_reported_in_one_line_with_its_fix_which_works(root: Path) -> None:
    plan, lines = read_plan(root / "studies" / "small"), list[str]()
    run = plan.unique_runs[0].id
    content = (root / "runs" / run / "result.json").read_bytes()
    (root / "runs" / run / "result.json").unlink()  # it is still being trained

    def copy(root: Path) -> None:
        copy_reports(
            [TrackerCopy("mlflow", make_tracker("mlflow", root), plan, root)], lines.append
        )

    copy(root)
    # MLflow uses a file after its removal too. Another folder has the effect of another process.
    later = root.with_name("later")
    shutil.copytree(root, later, ignore=shutil.ignore_patterns("mlflow.db*"))
    (later / "runs" / run / "result.json").write_bytes(content)
    lines.clear()
    copy(later)
    (line,) = lines
    state = later / "tracking" / "small.json"
    assert f"{state}: lists the run {run}" in line
    assert f'remove the entry "mlflow" of {state}' in line
    state.unlink()
    copy(later)
    check_mlflow(MlflowClient(f"sqlite:///{later / 'mlflow.db'}"), later)
