"""The storage of trackio has every run with its curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.execution import read_plan
from resnetlab.tracking.base import make_tracker
from resnetlab.tracking.tracker_copy import TrackerCopy, copy_reports


def test_trackio_has_every_run_with_its_curves(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(root / "trackio"))  # trackio reads it once, at its import
    plan = read_plan(root / "studies" / "small")
    lines: list[str] = []
    copy_reports([TrackerCopy("trackio", make_tracker("trackio", root), plan, root)], lines.append)
    assert lines == [f"trackio: TRACKIO_DIR={root / 'trackio'} trackio show"]
    assert capfd.readouterr().out == ""
    from trackio.sqlite_storage import SQLiteStorage

    assert set(SQLiteStorage.get_runs("small")) >= {
        f"{run.condition}, seed {run.seed}" for run in plan.unique_runs
    }
    for run in plan.unique_runs:
        logs = SQLiteStorage.get_logs("small", f"{run.condition}, seed {run.seed}")
        losses = {log["step"]: log["train/loss_nats"] for log in logs if "train/loss_nats" in log}
        metrics = RunFolder(root / "runs" / run.id).metrics()
        expected = {line.step: line.loss_nats for line in metrics if line.split == "train"}
        assert losses == pytest.approx(expected)
