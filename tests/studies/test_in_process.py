"""A single run is trained in the calling process and leaves its state unchanged."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import resnetlab as rl
from helpers.processes import has_trained
from resnetlab.errors import Problem
from resnetlab.runs import session
from resnetlab.runs.lifecycle import RunLockedError
from resnetlab.runs.run_folder import RunFolder
from resnetlab.training.from_scratch_state import FromScratchState

RUN = ("cifar-plain8", "adam")
SETTINGS = ("recipe.epochs=2", "numerics.threads=1", "numerics.precision=fp32")


def train(data: Path, output: Path, *settings: str) -> rl.RunRecord:
    model, recipe = RUN
    return rl.train(model, str(data), recipe, settings=[*SETTINGS, *settings], output=output)


def test_no_python_process_is_started(
    small_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git is started, for the commit in the provenance."""
    programs: list[str] = []

    class Recorder(subprocess.Popen[Any]):
        def __init__(self, command: Sequence[str], *more: Any, **options: Any) -> None:
            programs.append(command[0])
            super().__init__(command, *more, **options)

    def refuse() -> int:
        raise AssertionError("a process was forked")

    monkeypatch.setattr(subprocess, "Popen", Recorder)
    monkeypatch.setattr(os, "fork", refuse)
    result = train(small_npz, tmp_path).result
    assert result is not None
    assert result.test is not None
    assert set(programs) <= {"git"}


def test_torch_settings_and_all_random_states_are_restored(small_npz: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    cudnn = torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic
    torch.set_num_threads(2)
    cudnn.benchmark, cudnn.deterministic = True, False
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[union-attr]  # noqa: NPY002
    try:
        train(small_npz, tmp_path, "numerics.threads=1")
        assert torch.get_num_threads() == 2
        assert (cudnn.benchmark, cudnn.deterministic) == (True, False)
        assert torch.equal(torch.get_rng_state(), states[0])
        assert random.getstate() == states[1]
        assert np.array_equal(np.random.get_state()[1], states[2])  # type: ignore[index]  # noqa: NPY002
    finally:
        torch.set_num_threads(before)
        cudnn.benchmark, cudnn.deterministic = flags


def test_an_unexpected_error_is_reported_in_one_line_and_its_traceback_is_logged(
    small_npz: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TypeError("planted")

    monkeypatch.setattr(FromScratchState, "record_step", fail)
    with pytest.raises(
        rl.UnfinishedError, match=r"TypeError: planted \(more in .*\.log\)"
    ) as caught:
        train(small_npz, tmp_path)
    assert "Traceback" not in capfd.readouterr().err
    (log,) = (tmp_path / "cache" / "logs").iterdir()
    assert str(log) in str(caught.value)
    assert "TypeError: planted" in log.read_text()
    (folder,) = (tmp_path / "runs").iterdir()
    assert [line["event"] for line in RunFolder(folder).record().provenance][-2:] == [
        "failed",
        "gave up",
    ]  # type: ignore[union-attr]


def test_the_executor_waits_for_a_run_that_another_process_trains(
    small_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnetlab.studies.executors.base.LOCK_RETRY_SECONDS", 0.01)
    attempts: list[int] = []
    real = session.run_attempt

    def attempt(*arguments: object, **more: object) -> object:
        attempts.append(1)
        if len(attempts) < 3:
            raise RunLockedError(Problem("run", "another process trains this run", "wait for it"))
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "run_attempt", attempt)
    assert train(small_npz, tmp_path).result is not None
    assert len(attempts) == 3


INTERRUPTED = """
import sys, resnetlab as rl
rl.train("cifar-plain8", {data!r}, "adam", settings={settings!r}, output={output!r})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_in_python_leaves_a_checkpoint_and_the_same_call_ends_with_the_same_bits(
    small_npz: Path, tmp_path: Path
) -> None:
    longer = [*SETTINGS, "recipe.epochs=80"]
    script = INTERRUPTED.format(
        data=str(small_npz), settings=longer, output=str(tmp_path / "stopped")
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not has_trained(tmp_path / "stopped"):
        time.sleep(0.02)
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert list((tmp_path / "stopped").glob("runs/*/checkpoints/*/MANIFEST.json"))
    assert not list((tmp_path / "stopped").glob("runs/*/result.json"))
    first = train(small_npz, tmp_path / "stopped", "recipe.epochs=80")
    uninterrupted = train(small_npz, tmp_path / "whole", "recipe.epochs=80")
    assert [line["event"] for line in first.provenance] == ["start", "stopped", "resume"]
    assert first.result is not None
    assert uninterrupted.result is not None
    assert first.result.test == uninterrupted.result.test
