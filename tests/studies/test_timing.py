"""Networks are timed in another process if requested, and the speed of each network is measured
once.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import resnetlab as rl
from resnetlab.studies.plan import Plan
from resnetlab.studies.timing import network_speed as module
from resnetlab.studies.timing.network_speed import measure_speed, time_runs, timed_network
from resnetlab.studies.timing.time_estimate import Timing


@pytest.fixture
def plan(study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "STEP_SECONDS", 0.02)
    return rl.load_study(study_file).plan(tmp_path)


def test_a_separate_process_measures_the_speed_of_each_network_once(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    before = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    timings = time_runs(plan.runs, notes.append, measure_missing=True)
    after = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert set(timings) == {run.id for run in plan.runs}
    # Two networks, each of two seeds.
    assert len(set(timings.values())) == 2
    assert notes[0].startswith("Timing 2 networks on this machine")

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the speeds are known")

    monkeypatch.setattr(subprocess, "run", fail)
    assert time_runs(plan.runs, notes.append, measure_missing=True) == timings
    assert time_runs(plan.runs, notes.append, measure_missing=False) == timings


def test_nothing_is_measured_unless_requested(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("measured"))
    assert time_runs(plan.runs, pytest.fail, measure_missing=False) == {}


def test_a_network_that_takes_too_long_is_reported_by_name(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def time_out(command: list[str], timeout: float, **_: object) -> None:
        limits.append(timeout)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", time_out)
    notes: list[str] = []
    assert time_runs(plan.runs, notes.append, measure_missing=True) == {}
    assert [note.partition(" (")[0] for note in notes[1:]] == ["plain 8", "residual 8"]
    assert all("is not timed: that failed or took too long" in note for note in notes[1:])
    runs = [
        replace(run, id=f"{run.id}-{size}", image_size=size)
        for size in range(8, 60)
        for run in plan.runs
    ]
    time_runs(runs, notes.append, measure_missing=True)
    assert max(limits) == module.MAX_TOTAL_SECONDS


def test_networks_of_equal_cost_are_timed_once(plan: Plan) -> None:
    run = plan.runs[0]
    recipe = run.config.recipe
    assert isinstance(recipe, rl.Recipe)

    def with_recipe(**changes: Any) -> Any:
        config = replace(run.config, recipe=replace(recipe, **changes))
        return timed_network(replace(run, file=replace(run.file, run=config)))

    assert with_recipe(epochs=90, optimizer=rl.Adam(lr=0.5)) == timed_network(run)
    assert with_recipe(batch_size=17) != timed_network(run)
    assert with_recipe(optimizer=rl.SGD()) != timed_network(run)


def test_the_speed_is_the_number_of_images_by_the_time_of_the_clock(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that advances by a quarter of a second whenever it is read."""
    readings = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: next(readings) / 4)
    monkeypatch.setattr("resnetlab.studies.timing.network_speed.time", clock)
    network = timed_network(plan.runs[0])
    assert network is not None
    network = replace(network, recipe=replace(network.recipe, batch_size=8))
    threads = torch.get_num_threads()
    try:
        speed = measure_speed(network)
    finally:
        torch.set_num_threads(threads)
    # One step of the whole batch, between three readings; then 16 images between two.
    assert speed == Timing(8 / 0.75, 16 / 0.25)


def test_a_process_that_hangs_returns_its_earlier_measurements(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = {"train_images_per_second": 7.0, "evaluation_images_per_second": 21.0}

    def hang(command: list[str], timeout: float, **_: Any) -> None:
        output = (json.dumps({"index": 0} | line) + '\n{"index": 1, "tra').encode()
        raise subprocess.TimeoutExpired(command, timeout, output)

    monkeypatch.setattr(subprocess, "run", hang)
    timings = time_runs(plan.runs, lambda _: None, measure_missing=True)
    assert set(timings.values()) == {Timing(7.0, 21.0)}
    assert len(timings) == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "{}",
        "[]",
        '{"train_images_per_second": 1.0}',
        '{"train_images_per_second": 0.0, "evaluation_images_per_second": 1.0}',
        '{"train_images_per_second": "x", "evaluation_images_per_second": 1.0}',
        '{"train_images_per_second": NaN, "evaluation_images_per_second": 1.0}',
    ],
)
def test_a_network_with_a_damaged_cache_file_is_measured_again(
    content: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def measure_all(_: list[str], input: str, **__: object) -> SimpleNamespace:
        measured.append(len(json.loads(input)))
        speeds = {"train_images_per_second": 7.0, "evaluation_images_per_second": 21.0}
        lines = [json.dumps({"index": index} | speeds) for index in range(measured[-1])]
        return SimpleNamespace(stdout="\n".join(lines))

    monkeypatch.setattr(subprocess, "run", measure_all)
    timings = time_runs(plan.runs, lambda _: None, measure_missing=True)
    assert len(timings) == len(plan.runs)
    paths = sorted((tmp_path / "cache" / "timings").iterdir())
    paths[0].write_text(content)
    assert len(time_runs(plan.runs, lambda _: None, measure_missing=False)) < len(plan.runs)
    assert time_runs(plan.runs, lambda _: None, measure_missing=True) == timings
    assert measured == [2, 1]  # both networks, then the one with the damaged file
    assert paths[0].read_text() == paths[1].read_text()
    assert time_runs(plan.runs, lambda _: None, measure_missing=False) == timings


def test_a_network_that_is_far_too_large_is_reported_and_not_timed(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setattr(module, "total_memory_bytes", lambda: 16_000_000_000)
    run, notes = plan.runs[0], list[str]()
    file = replace(run.file, parameters=3 * 10**9, macs=1)
    assert time_runs([replace(run, file=file)], notes.append, measure_missing=True) == {}
    assert notes.pop().endswith(
        "is not timed: its 3,000,000,000 parameters take at least 36 GB to train, and this "
        "machine has 16 GB"
    )
    file = replace(run.file, parameters=1, macs=50 * 10**9)
    assert time_runs([replace(run, file=file)], notes.append, measure_missing=True) == {}
    assert notes.pop().endswith("is not timed: an image takes 50 billion multiply-adds")
    assert time_runs([replace(run, file=file)], notes.append, measure_missing=False) == {}
    assert notes == []
