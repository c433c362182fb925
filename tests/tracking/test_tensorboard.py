"""The reader of TensorBoard gets the values in the folders of the runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.execution import read_plan
from resnetlab.tracking.base import make_tracker
from resnetlab.tracking.tracker_copy import TrackerCopy, copy_reports


def test_tensorboard_reads_the_curves_the_final_values_and_the_report(root: Path) -> None:
    plan = read_plan(root / "studies" / "small")
    lines: list[str] = []
    copy_reports(
        [TrackerCopy("tensorboard", make_tracker("tensorboard", root), plan, root)], lines.append
    )
    assert lines == [f"tensorboard: tensorboard --logdir {root / 'tensorboard'}"]
    for run in plan.unique_runs:
        run_folder = RunFolder(root / "runs" / run.id)
        events = EventAccumulator(str(root / "tensorboard" / "small" / run.id))
        events.Reload()
        expected = [
            (line.step, line.loss_nats) for line in run_folder.metrics() if line.split == "train"
        ]
        scalars = [(scalar.step, scalar.value) for scalar in events.Scalars("train/loss_nats")]
        assert [step for step, _ in scalars] == [step for step, _ in expected]
        assert [value for _, value in scalars] == pytest.approx([loss for _, loss in expected])
        result = run_folder.result()
        assert result is not None
        assert result.test is not None
        (final,) = events.Scalars("final/test_accuracy_pct")
        assert final.value == pytest.approx(100 - result.test.top1_error_pct)
        assert "config/text_summary" in events.Tags()["tensors"]
    report = EventAccumulator(str(root / "tensorboard" / "small" / "report"))
    report.Reload()
    (text,) = report.Tensors("report/text_summary")
    assert "residual" in text.tensor_proto.string_val[0].decode()
