"""`--profile` writes the time of each phase and changes no bit of training."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import resnetlab as rl
from helpers.fake_cuda_graphs import FakeCudaGraphs
from helpers.small_run import SmallRun
from resnetlab.files import sha256
from resnetlab.runs.config import run_id
from resnetlab.runs.run_folder import RunFolder
from resnetlab.training.profiler import PHASES, TRACE_FILE, TRACED_STEPS


def trained(
    root: Path, data: Path, profile: bool, *settings: str, until: int | None = None
) -> RunFolder:
    """Return a run of four epochs of eight steps, or as far as `until`."""
    run = SmallRun(data, root, "recipe.batch_size=14", "recipe.epochs=4", *settings)
    run(until, placement=rl.Placement(checkpoint_seconds=0, profile=profile))
    return run.run_folder


@pytest.mark.parametrize(
    "options", [(), ("recipe.ema=0.9", "numerics.grad_accum_steps=2", "recipe.clip_norm=1.0")]
)
def test_a_profiled_run_has_the_bits_of_a_run_without_profile(
    tmp_path: Path, small_npz: Path, options: tuple[str, ...]
) -> None:
    plain, profiled = (
        trained(tmp_path / str(kind), small_npz, kind, *options) for kind in (False, True)
    )
    for name in ("weights.safetensors", "logits-test.safetensors"):
        assert sha256(plain.path / name) == sha256(profiled.path / name)
    assert plain.read_profile() == ""
    assert not (plain.path / "profile").exists()


def test_a_captured_step_is_profiled_with_the_same_bits(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay runs neither the network nor the optimizer in Python, so it is one phase."""

    class Graphs(FakeCudaGraphs):
        """Stand-in with counters of its own."""

    monkeypatch.setattr("resnetlab.training.make_step.CudaGraphs", Graphs)
    monkeypatch.setattr("resnetlab.training.profiler.TRACED_STEPS", 3)
    folders = []
    for profile in (False, True):
        run = SmallRun(small_npz, tmp_path / str(profile), "recipe.epochs=4", dropout=0.0)
        numerics = replace(run.file.run.numerics, cuda_graphs="on")
        file = replace(run.file, run=replace(run.file.run, numerics=numerics))
        run.run_folder = RunFolder.find(run.root, run_id(file.run, file.data_name))
        Graphs.replayed = 0
        run(file=file, placement=rl.Placement(checkpoint_seconds=0, profile=profile))
        assert Graphs.replayed > 10
        folders.append(run.run_folder)
    plain, profiled = folders
    for name in ("weights.safetensors", "logits-test.safetensors"):
        assert sha256(plain.path / name) == sha256(profiled.path / name)
    result = profiled.result()
    assert result is not None
    assert f"  the run, {result.step} steps\n" in profiled.read_profile()


def test_the_times_of_the_profile_add_up_and_the_trace_contains_its_steps(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that runs a thousand times as fast, so that no phase is rounded to nothing on any
    machine.
    """
    clock = SimpleNamespace(monotonic=lambda: 1000 * time.monotonic())
    monkeypatch.setattr("resnetlab.training.profiler.time", clock)
    run_folder = trained(tmp_path, small_npz, True)
    lines = run_folder.read_profile().splitlines()
    assert len(lines) < 30
    matches = [
        re.fullmatch(r" *([\d.]+) s +([\d.]+) %  (.*)", line) for line in lines[: 1 + len(PHASES)]
    ]
    seconds = {match[3]: float(match[1]) for match in matches if match}
    result = run_folder.result()
    assert result is not None
    total = seconds.pop(f"the run, {result.step} steps")
    assert list(seconds) == list(PHASES)
    assert sum(seconds.values()) == pytest.approx(total, abs=0.01 * len(PHASES))
    steps = sum(
        seconds[name] for name in ("data", "forward", "backward", "optimizer", "rest of a step")
    )
    assert 0.5 * 1000 * result.train_seconds < steps < total
    assert (
        min(seconds["forward"], seconds["backward"], seconds["optimizer"], seconds["evaluation"])
        > 0
    )
    events = json.loads(gzip.decompress((run_folder.path / "profile" / TRACE_FILE).read_bytes()))[
        "traceEvents"
    ]
    names = Counter(event.get("name") for event in events)
    assert names["Optimizer.step#Adam.step"] == TRACED_STEPS
    assert any("aten::" in line for line in lines[-5:])


def test_a_resumed_run_is_profiled_from_its_checkpoint(tmp_path: Path, small_npz: Path) -> None:
    first = trained(tmp_path, small_npz, True, until=1)
    assert "the run, 8 steps" in first.read_profile()
    assert "the run, 24 steps" in trained(tmp_path, small_npz, True).read_profile()


def test_a_run_with_few_steps_reports_that_it_has_no_trace(tmp_path: Path, small_npz: Path) -> None:
    short = trained(tmp_path, small_npz, True, "recipe.batch_size=64", "recipe.epochs=1")
    assert short.read_profile().splitlines()[-1] == "No trace: it begins after 5 steps."
