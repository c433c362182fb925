"""A run folder has one writer at a time, and can be read after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from resnetlab.files import is_locked
from resnetlab.runs.paths import LOCK
from resnetlab.runs.records import Evaluation, Result
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import SCHEMA, encode


def evaluation(step: int) -> Evaluation:
    return Evaluation(
        step=step, epoch=step / 7, split="train", loss_nats=1 / 3, top1_error_pct=2 / 3, seconds=0.1
    )


def test_evaluations_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    run_folder = RunFolder(tmp_path)
    run_folder.append_metrics(*map(evaluation, range(4)))
    assert run_folder.metrics() == list(map(evaluation, range(4)))


def test_a_line_cut_by_a_kill_is_ignored_and_the_next_line_is_complete(tmp_path: Path) -> None:
    run_folder = RunFolder(tmp_path)
    run_folder.append_metrics(evaluation(0), evaluation(1))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    run_folder.append_metrics(evaluation(2))
    assert run_folder.metrics() == [evaluation(0), evaluation(2)]


def test_rewinding_removes_evaluations_after_a_checkpoint(tmp_path: Path) -> None:
    run_folder = RunFolder(tmp_path)
    run_folder.append_metrics(*map(evaluation, (0, 7, 14, 21)))
    run_folder.discard_after(14)
    assert run_folder.metrics() == list(map(evaluation, (0, 7, 14)))
    run_folder.discard_after(-1)
    assert run_folder.metrics() == []


def test_a_result_is_written_only_once(tmp_path: Path) -> None:
    run_folder = RunFolder(tmp_path)
    first, second = (
        Result(schema=SCHEMA, status="trained", step=step, selected_step=step) for step in (1, 2)
    )
    assert run_folder.commit(first)
    assert not run_folder.commit(second)
    assert run_folder.result() == first
    assert json.loads((tmp_path / "result.json").read_text()) == encode(first)


LOCK_SCRIPT = """
import sys, time
from pathlib import Path
from resnetlab.runs.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock() as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def test_a_lock_excludes_other_processes_and_ends_with_its_process(tmp_path: Path) -> None:
    run_folder = RunFolder(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK_SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert is_locked(tmp_path / LOCK)
        with run_folder.lock() as acquired:
            assert not acquired
    finally:
        holder.kill()
        holder.communicate()
    deadline = time.monotonic() + 5
    while is_locked(tmp_path / LOCK) and time.monotonic() < deadline:
        time.sleep(0.01)
    with run_folder.lock() as acquired:
        assert acquired


def test_a_run_is_identified_by_its_hash_and_not_by_the_name_of_its_data(tmp_path: Path) -> None:
    (tmp_path / "runs" / "bands-cifar-resnet8-s0-0123456789").mkdir(parents=True)
    assert (
        RunFolder.find(tmp_path, "other-cifar-resnet8-s0-0123456789").path.name
        == "bands-cifar-resnet8-s0-0123456789"
    )
    assert (
        RunFolder.find(tmp_path, "other-cifar-resnet8-s0-aaaaaaaaaa").path.name
        == "other-cifar-resnet8-s0-aaaaaaaaaa"
    )
