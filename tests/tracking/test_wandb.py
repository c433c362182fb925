"""The reader of Weights & Biases gets the values from the offline files."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.execution import read_plan
from resnetlab.tracking.base import make_tracker
from resnetlab.tracking.tracker_copy import TrackerCopy, copy_reports


def records(file: Path) -> Iterator[Any]:
    """Yield the records of an offline file: a log of LevelDB with a header of seven bytes.

    A block has 32,768 bytes. A fragment has a checksum of four bytes, its length, and its type: 1
    is a whole record, 2 to 4 are the first, a middle and the last part of one.
    """
    data, position, parts = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_the_offline_files_have_every_run_with_its_curves(root: Path) -> None:
    plan = read_plan(root / "studies" / "small")
    lines: list[str] = []
    copy_reports([TrackerCopy("wandb", make_tracker("wandb", root), plan, root)], lines.append)
    assert lines == [f"wandb: wandb sync {root / 'wandb'}/offline-run-*"]
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run"]
    offline = sorted(map(str, (root / "wandb").glob("offline-run-*")))
    listed = subprocess.run(
        [*command, *offline],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"WANDB_API_KEY": "0" * 40},
    )
    assert all(Path(path).name in listed.stdout + listed.stderr for path in offline)
    seen = set()
    for file in sorted((root / "wandb").glob("offline-run-*/*.wandb")):
        read = list(records(file))
        (run,) = [record.run for record in read if record.WhichOneof("record_type") == "run"][:1]
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        if "run" not in config:
            assert run.display_name == "report"
            continue
        run_folder = RunFolder(root / "runs" / config["run"])
        seen.add(config["run"])
        assert run.run_group == "small"
        losses = {}
        for record in read:
            if record.WhichOneof("record_type") == "history":
                items = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in record.history.item
                }
                if "train/loss_nats" in items:
                    losses[record.history.step.num] = items["train/loss_nats"]
        expected = {
            line.step: line.loss_nats for line in run_folder.metrics() if line.split == "train"
        }
        assert losses == pytest.approx(expected)
    assert seen == {run.id for run in plan.unique_runs}


def test_a_second_copy_continues_the_run_of_the_report(root: Path) -> None:
    plan = read_plan(root / "studies" / "small")
    for _ in range(2):
        copy_reports([TrackerCopy("wandb", make_tracker("wandb", root), plan, root)], print)
    report_ids = [
        run.run_id
        for file in sorted((root / "wandb").glob("offline-run-*/*.wandb"))
        for run in [record.run for record in records(file) if record.HasField("run")][:1]
        if run.display_name == "report"
    ]
    assert len(report_ids) >= 2
    assert len(set(report_ids)) == 1
