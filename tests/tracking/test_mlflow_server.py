"""An MLflow server on SQLite, which the test starts, shows the runs."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from helpers.mlflow_runs import check_mlflow
from resnetlab.studies.execution import read_plan
from resnetlab.tracking.base import make_tracker
from resnetlab.tracking.tracker_copy import TrackerCopy, copy_reports


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Return the address of a server with its store and its files in `tmp_path`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    options += ["--artifacts-destination", str(tmp_path / "files"), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=1)
                    break
                except OSError:
                    time.sleep(0.5)
            yield address
        finally:
            process.terminate()


def test_a_server_lists_the_runs(root: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    plan = read_plan(root / "studies" / "small")
    lines: list[str] = []
    copy_reports([TrackerCopy("mlflow", make_tracker("mlflow", root), plan, root)], lines.append)
    assert lines == [f"mlflow: mlflow ui --backend-store-uri {server}"]
    check_mlflow(MlflowClient(server), root)
