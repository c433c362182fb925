"""Promise: a killed study or worker loses no finished run, leaves no process behind, and ends with
the bits of one that nothing interrupted.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.processes import has_trained
from helpers.studies import (
    LONGER,
    events_of,
    finish,
    finished,
    outcomes,
    start,
    wait_for,
    workers_of,
)


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
def test_kills_at_random_instants_lose_nothing(
    tmp_path: Path,
    whole: tuple[Path, dict[str, Any]],
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    draw, studies, kills = random.Random(0), amount(10), 0
    for number in range(studies):
        delays = [draw.uniform(0, 3) for _ in range(2)]
        kill_and_go_on(tmp_path / str(number), *whole, delays)
        kills += len(delays)
    figures(f"{kills} kills of {studies} studies, 0 finished runs lost, 0 bits differ")


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
