"""The local executor reports each way in which a worker can end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab.errors import ResourceError
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.executors import local
from resnetlab.studies.executors.local import LocalExecutor
from resnetlab.studies.executors.messages import Job, RunEvent
from resnetlab.studies.single_run import plan_run

WORKER = """
import json, os, sys, time
def send(**event):
    print(json.dumps(event), flush=True)
send(kind="idle")
for line in sys.stdin:
    message = json.loads(line)
    if message.get("stop"):
        break
    (request,) = message["requests"]
    root, run = request["root"], request["job"]["id"]
    tries = os.path.join(root, run)
    with open(tries, "a") as file:
        file.write("x")
    attempt = os.path.getsize(tries)
    {act}
"""

FINISH = 'send(kind="finished", id=run, status="trained")'


@pytest.fixture
def run_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Iterator[RunEvent]]:
    """Run jobs under `tmp_path` with workers that do `act`."""

    def run(
        jobs: list[Job], act: str, workers: int = 1, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[RunEvent]:
        script = tmp_path / "worker.py"
        script.write_text(WORKER.format(act=act))
        monkeypatch.setattr(local, "COMMAND", (sys.executable, str(script)))
        monkeypatch.setattr(local, "can_fork_workers", lambda: False)
        return LocalExecutor(tmp_path, rl.Placement(workers=workers)).run(jobs, stop)

    return run


@pytest.fixture(scope="module")
def jobs(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    output = tmp_path_factory.mktemp("plan")
    plans = [
        plan_run("cifar-plain8", str(small_npz), "adam", seed=seed, output=output)
        for seed in range(4)
    ]
    return [Job(plan.runs[0].id, plan.runs[0].file) for plan in plans]


def kinds(events: Iterator[RunEvent]) -> list[tuple[str, str]]:
    return [(event.kind, event.id) for event in events if event.kind not in ("idle", "progress")]


def events_of(root: Path, job: Job) -> list[str]:
    path = RunFolder.find(root, job.id).path / "provenance.jsonl"
    return (
        [json.loads(line)["event"] for line in path.read_text().splitlines()]
        if path.exists()
        else []
    )


def test_each_job_is_executed_once_and_in_order(
    run_jobs: Callable[..., Iterator[RunEvent]], jobs: list[Job]
) -> None:
    assert kinds(run_jobs(jobs, FINISH)) == [("finished", job.id) for job in jobs]


def test_a_run_whose_process_dies_is_tried_three_times_and_then_missing(
    run_jobs: Callable[..., Iterator[RunEvent]], jobs: list[Job], tmp_path: Path
) -> None:
    victim, others = jobs[0], jobs[1:]
    act = f'os.kill(os.getpid(), 9) if run == "{victim.id}" else {FINISH}'
    events = list(run_jobs(jobs, act))
    assert sorted(kinds(iter(events))) == sorted(
        [("failed", victim.id)] * 2
        + [("missing", victim.id)]
        + [("finished", job.id) for job in others]
    )
    assert events_of(tmp_path, victim) == ["failed", "failed", "failed", "gave up"]
    reason = next(event.reason for event in events if event.kind == "missing")
    assert "killed by signal 9" in reason
    assert str(tmp_path) not in reason


def test_a_run_that_dies_once_is_finished_at_its_second_attempt(
    run_jobs: Callable[..., Iterator[RunEvent]], jobs: list[Job], tmp_path: Path
) -> None:
    act = f"os._exit(7) if attempt == 1 else {FINISH}"
    assert kinds(run_jobs(jobs[:1], act)) == [("failed", jobs[0].id), ("finished", jobs[0].id)]
    assert events_of(tmp_path, jobs[0]) == ["failed"]


def test_a_mistake_that_would_occur_again_is_not_retried(
    run_jobs: Callable[..., Iterator[RunEvent]], jobs: list[Job], tmp_path: Path
) -> None:
    act = 'send(kind="failed", id=run, reason="ValueError: no", exit_code=1, may_retry=False)'
    assert kinds(run_jobs(jobs[:2], act)) == [("missing", job.id) for job in jobs[:2]]
    assert events_of(tmp_path, jobs[0]) == ["failed", "gave up"]


def test_an_operating_system_error_is_retried(
    run_jobs: Callable[..., Iterator[RunEvent]], jobs: list[Job]
) -> None:
    act = (
        'send(kind="failed", id=run, reason="EIO", exit_code=1, may_retry=True) '
        f"if attempt < 3 else {FINISH}"
    )
    assert kinds(run_jobs(jobs[:1], act)) == [("failed", jobs[0].id)] * 2 + [
        ("finished", jobs[0].id)
    ]


def test_a_full_disk_ends_the_study_and_counts_as_the_result_of_no_run(
    run_jobs: Callable[..., Iterator[RunEvent]], jobs: list[Job], tmp_path: Path
) -> None:
    act = 'send(kind="failed", id=run, reason="the disk is full", exit_code=4, may_retry=False)'
    with pytest.raises(ResourceError, match="the disk is full"):
        list(run_jobs(jobs, act))
    assert "gave up" not in events_of(tmp_path, jobs[0])


def test_a_process_killed_by_the_system_for_lack_of_memory_gives_an_out_of_memory_result(
    run_jobs: Callable[..., Iterator[RunEvent]],
    jobs: list[Job],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = tmp_path / jobs[0].id
    monkeypatch.setattr(local, "count_memory_kills", lambda: int(killed.exists()))
    events = [e for e in run_jobs(jobs[:1], "os.kill(os.getpid(), 9)") if e.kind == "finished"]
    assert [event.status for event in events] == ["out of memory"]
    result = RunFolder.find(tmp_path, jobs[0].id).result()
    assert result is not None
    assert result.status == "out of memory"


def test_the_executor_waits_for_a_run_that_another_driver_has_locked(
    run_jobs: Callable[..., Iterator[RunEvent]], jobs: list[Job]
) -> None:
    act = f'send(kind="locked", id=run) if attempt == 1 and run == "{jobs[0].id}" else {FINISH}'
    assert kinds(run_jobs(jobs[:2], act)) == [("finished", jobs[1].id), ("finished", jobs[0].id)]


def test_a_stop_waits_for_each_worker_and_leaves_no_process(
    run_jobs: Callable[..., Iterator[RunEvent]], jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "STOP_TIMEOUT_SECONDS", 5.0)
    began = time.monotonic()
    act = 'sys.stdin.readline(); send(kind="interrupted", id=run); sys.exit()'
    events = kinds(run_jobs(jobs, act, workers=2, stop=lambda: time.monotonic() - began > 1))
    assert sorted(events) == sorted([("interrupted", job.id) for job in jobs[:2]])


def test_a_worker_that_hangs_is_killed_after_its_time_limit(
    run_jobs: Callable[..., Iterator[RunEvent]], jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "STOP_TIMEOUT_SECONDS", 0.5)
    began = time.monotonic()
    assert kinds(run_jobs(jobs, "time.sleep(60)", stop=lambda: time.monotonic() - began > 1)) == []


def test_workers_use_no_more_threads_in_total_than_there_are_cores(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setattr(local, "available_cpus", lambda: 8)

    def job_with(threads: int, device: str = "cpu") -> Job:
        file = jobs[0].file
        numerics = replace(file.run.numerics, threads=threads, device=device)
        return Job("x", replace(file, run=replace(file.run, numerics=numerics)))

    assert LocalExecutor(Path(), rl.Placement()).max_parallel([job_with(1)] * 20) == 8
    assert LocalExecutor(Path(), rl.Placement()).max_parallel([job_with(3)] * 20) == 2
    assert LocalExecutor(Path(), rl.Placement()).max_parallel([job_with(16)] * 20) == 1
    assert LocalExecutor(Path(), rl.Placement()).max_parallel([job_with(1)] * 3) == 3
    assert LocalExecutor(Path(), rl.Placement()).max_parallel([job_with(1, "cuda")] * 3) == 1
    assert LocalExecutor(Path(), rl.Placement(workers=5)).max_parallel([job_with(1)] * 20) == 5
    assert LocalExecutor(Path(), rl.Placement()).max_parallel([]) == 0


def test_a_worker_does_not_import_modules_for_photographs() -> None:
    code = "import sys, resnetlab.studies.executors.worker; print('torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
