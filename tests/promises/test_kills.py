"""Real processes, real signals: nothing finished is lost, and what goes on has the bits of what was
never stopped.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.outcomes import outcome
from helpers.processes import has_trained

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
LONGER = ("--set", "recipe.epochs=40")


def start(study: Path, root: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "resnetlab",
        "study",
        "run",
        str(study),
        "--output",
        str(root),
        *more,
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def finish(study: Path, root: Path, *more: str) -> str:
    process = start(study, root, *more)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out + err


def outcomes(root: Path) -> dict[str, Any]:
    """Read the outcome of every run, by the name of its folder."""
    return {run.name: outcome(run) for run in sorted((root / "runs").iterdir())}


def workers_of(root: Path) -> list[int]:
    """The worker processes that belong to the study under `root`: their log is their standard
    error.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                target = (entry / "fd" / "2").readlink()
            except OSError:
                continue
            if str(root.resolve()) in str(target) and target.name.startswith("worker-"):
                found.append(int(entry.name))
    return found


def wait_for(condition: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def events_of(provenance: Path) -> list[str]:
    return [json.loads(line)["event"] for line in provenance.read_text().splitlines()]


def finished(root: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("runs/*/result.json")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, study_text: str) -> tuple[Path, dict[str, Any]]:
    """A study that was never interrupted, with one worker."""
    folder = tmp_path_factory.mktemp("whole")
    study = folder / "small.toml"
    study.write_text(study_text)
    output = finish(study, folder / "out", "-j", "1", *LONGER)
    assert "Report:" in output
    return study, outcomes(folder / "out")


@pytest.mark.slow
def test_two_workers_give_the_results_of_one(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    study, expected = whole
    finish(study, tmp_path, "-j", "2", *LONGER)
    assert outcomes(tmp_path) == expected


def kill_and_go_on(
    tmp_path: Path, study: Path, expected: dict[str, Any], kills: list[float], *more: str
) -> None:
    for delay in kills:
        process = start(study, tmp_path, *more, *LONGER)
        assert wait_for(lambda: any(tmp_path.glob("runs/*/metrics.jsonl")), 60)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for worker in workers_of(tmp_path):  # they were in sessions of their own
            os.kill(worker, signal.SIGKILL)
        assert wait_for(lambda: not workers_of(tmp_path), 30)
    before = finished(tmp_path)
    finish(study, tmp_path, *more, *LONGER)
    after = finished(tmp_path)
    assert {name: after[name] for name in before} == before
    assert outcomes(tmp_path) == expected


@pytest.mark.slow
def test_after_kill_9_finished_runs_are_kept_and_the_others_have_the_same_bits(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    kill_and_go_on(tmp_path, *whole, [0.4])


@pytest.mark.slow
def test_killed_parallel_seeds_resume_with_the_bits_of_single_runs(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    kill_and_go_on(tmp_path, *whole, [0.4], "-j", "1", "--parallel-seeds", "2")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_kills_at_random_instants_lose_nothing(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]], seed: int
) -> None:
    draw = random.Random(seed)
    kill_and_go_on(tmp_path, *whole, [draw.uniform(0, 3) for _ in range(2)])


def test_a_killed_driver_leaves_no_orphan_and_two_workers_resume_with_the_bits_of_one(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    study, expected = whole
    process = start(study, tmp_path, "-j", "2", *LONGER)
    assert wait_for(lambda: has_trained(tmp_path), 60)
    process.kill()
    process.communicate()
    assert wait_for(lambda: not workers_of(tmp_path), 30)
    assert list(tmp_path.glob("runs/*/checkpoints/*/MANIFEST.json"))
    before = finished(tmp_path)
    finish(study, tmp_path, "-j", "2", *LONGER)
    assert {name: time for name, time in finished(tmp_path).items() if name in before} == before
    assert outcomes(tmp_path) == expected


@pytest.mark.parametrize(
    ("number", "code", "more"),
    [
        (signal.SIGINT, 130, ("-j", "1")),
        pytest.param(signal.SIGINT, 130, (), marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, (), marks=pytest.mark.slow),
    ],
)
def test_a_signal_writes_checkpoints_says_how_to_go_on_and_leaves_no_orphan(
    tmp_path: Path,
    whole: tuple[Path, dict[str, Any]],
    number: signal.Signals,
    code: int,
    more: tuple[str, ...],
) -> None:
    study, expected = whole
    process = start(study, tmp_path, *more, *LONGER)
    assert wait_for(lambda: has_trained(tmp_path), 60)
    process.send_signal(number)
    _, output = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in output
    assert f"resnetlab study run {study}" in output
    assert not workers_of(tmp_path)
    assert list(tmp_path.glob("runs/*/checkpoints/*/MANIFEST.json"))
    assert (next(tmp_path.glob("studies/*")) / "report.html").exists()
    finish(study, tmp_path, *more, *LONGER)
    assert outcomes(tmp_path) == expected


def test_a_killed_worker_costs_only_its_attempt(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    study, expected = whole
    process = start(study, tmp_path, "-j", "1", *LONGER)
    assert wait_for(lambda: any(tmp_path.glob("runs/*/metrics.jsonl")), 60)
    os.kill(workers_of(tmp_path)[0], signal.SIGKILL)
    _, output = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "killed by signal 9" in output
    assert outcomes(tmp_path) == expected
    events = [
        event for path in tmp_path.glob("runs/*/provenance.jsonl") for event in events_of(path)
    ]
    assert events.count("failed") == 1
    assert "gave up" not in events


@pytest.mark.slow
def test_two_drivers_on_one_study_record_each_run_once(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    study, expected = whole
    drivers = [start(study, tmp_path, "-j", "1", *LONGER) for _ in range(2)]
    for driver in drivers:
        _, output = driver.communicate(timeout=240)
        assert driver.returncode == 0, output
    assert outcomes(tmp_path) == expected
    for path in tmp_path.glob("runs/*/provenance.jsonl"):
        assert events_of(path) == ["start"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)], check=False
    ).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill_and_go_on(disk: Path, study: Path, expected: dict[str, Any], room: int) -> None:
    filler = disk / "filler"
    free = os.statvfs(disk)
    with filler.open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - room))
    process = start(study, disk, *LONGER)
    _, output = process.communicate(timeout=240)
    assert process.returncode == 4, output
    assert output.splitlines()[-1].startswith("resnetlab: error: ")
    assert "the disk is full" in output
    assert "Fix: free some space, then" in output
    assert not workers_of(disk)
    filler.unlink()
    before = finished(disk)
    finish(study, disk, *LONGER)
    assert {name: time for name, time in finished(disk).items() if name in before} == before
    assert outcomes(disk) == expected


@pytest.mark.slow
@pytest.mark.parametrize("room", [120_000])
def test_after_a_full_disk_the_study_continues_without_loss(
    small_disk: Path, whole: tuple[Path, dict[str, Any]], room: int
) -> None:
    fill_and_go_on(small_disk, *whole, room=room)


@pytest.mark.slow
@pytest.mark.parametrize("room", range(4_096, 170_000, 9_000))
def test_a_disk_that_is_full_at_any_point_does_too(
    small_disk: Path, whole: tuple[Path, dict[str, Any]], room: int
) -> None:
    fill_and_go_on(small_disk, *whole, room=room)
