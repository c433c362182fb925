"""Comparison of the data in MLflow with the folders of the runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.execution import read_plan


def check_mlflow(client: MlflowClient, root: Path) -> None:
    """Compare what MLflow has with the folders of the runs."""
    plan = read_plan(root / "studies" / "small")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.condition != ''")
    assert len(runs) == 4
    for run in runs:
        run_folder = RunFolder(root / "runs" / run.data.tags["resnetlab.run"])
        result = run_folder.result()
        assert result is not None
        assert result.test is not None
        assert run.info.status == "FINISHED"
        assert run.data.params["recipe.optimizer.lr"] == "0.001"
        accuracy = run.data.metrics["final/test_accuracy_pct"]
        assert accuracy == pytest.approx(100 - result.test.top1_error_pct)
        history = client.get_metric_history(run.info.run_id, "train/loss_nats")
        expected = {
            line.step: line.loss_nats for line in run_folder.metrics() if line.split == "train"
        }
        assert {metric.step: metric.value for metric in history} == pytest.approx(expected)
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"run.json", "result.json", "weights.safetensors"} <= files
    (report,) = client.search_runs([experiment.experiment_id], "tags.resnetlab = 'report'")
    files = {file.path for file in client.list_artifacts(report.info.run_id)}
    assert {"report.html", "figures"} <= files
    assert len(plan.unique_runs) == len(runs)
