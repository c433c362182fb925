"""Workers are copies of one process that imports torch once, and do not depend on each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab.files import sha256
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.executors import launcher as module
from resnetlab.studies.executors.in_process import run_in_process
from resnetlab.studies.executors.launcher import ForkedWorker, Launcher
from resnetlab.studies.executors.local import LocalExecutor
from resnetlab.studies.executors.messages import Job, RunEvent
from resnetlab.studies.single_run import plan_run

pytestmark = pytest.mark.skipif(
    not module.can_fork_workers(), reason="this system cannot copy a process"
)


@pytest.fixture(scope="module")
def jobs(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Two short runs of one thread, whose seeds differ."""
    output = tmp_path_factory.mktemp("plan")
    settings = ("recipe.epochs=2", "numerics.threads=1", "numerics.precision=fp32")
    plans = [
        plan_run(
            "cifar-plain8", str(small_npz), "adam", seed=seed, settings=settings, output=output
        )
        for seed in range(2)
    ]
    return [Job(plan.runs[0].id, plan.runs[0].file) for plan in plans]


def read_first_line(worker: ForkedWorker) -> str:
    """Return the first line of a worker: it is ready."""
    return worker.stdout.readline()


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    started = Launcher(tmp_path / "launcher.log", dict(os.environ))
    yield started
    started.close()
    for worker in started.workers.values():
        worker.stdin.close()
        worker.stdout.close()


def test_workers_are_forks_of_one_process_and_end_with_their_input(
    launcher: Launcher, tmp_path: Path
) -> None:
    workers = [launcher.start(tmp_path / f"{number}.log") for number in range(2)]
    assert ["idle" in read_first_line(worker) for worker in workers] == [True, True]
    parents = {
        Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[1]
        for worker in workers
    }
    assert parents == {str(launcher.process.pid)}
    for worker in workers:
        worker.stdin.close()
        assert worker.wait(60) == 0


def test_a_killed_worker_is_reported_with_its_signal_and_another_can_be_started(
    launcher: Launcher, tmp_path: Path
) -> None:
    worker = launcher.start(tmp_path / "0.log")
    read_first_line(worker)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.01)
    worker.kill()
    assert worker.wait(60) == -signal.SIGKILL
    assert worker.stdout.readline() == ""
    again = launcher.start(tmp_path / "0.log")
    assert "idle" in read_first_line(again)
    again.stdin.close()
    assert again.wait(60) == 0


def test_a_launcher_that_cannot_start_ends_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "COMMAND", (sys.executable, "-c", "import sys; sys.exit('torch is broken')")
    )
    broken = Launcher(tmp_path / "launcher.log", dict(os.environ))
    worker = broken.start(tmp_path / "0.log")
    assert worker.stdout.readline() == ""
    assert worker.wait(60) == -9
    broken.close()
    worker.stdin.close()
    worker.stdout.close()
    assert "torch is broken" in (tmp_path / "launcher.log").read_text()


def test_a_killed_launcher_loses_no_run(tmp_path: Path, jobs: list[Job]) -> None:
    executor = LocalExecutor(tmp_path, rl.Placement(workers=2))
    events: list[RunEvent] = []
    for event in executor.run(jobs, lambda: False):
        if not events and executor.launcher is not None:
            os.kill(executor.launcher.process.pid, signal.SIGKILL)
        events.append(event)
    assert sorted(event.id for event in events if event.kind == "finished") == sorted(
        job.id for job in jobs
    )


def test_a_run_has_the_same_bits_in_a_forked_worker_a_new_process_and_the_calling_process(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    list(LocalExecutor(tmp_path / "launched", rl.Placement(workers=2)).run(jobs, lambda: False))
    monkeypatch.setattr("resnetlab.studies.executors.local.can_fork_workers", lambda: False)
    list(LocalExecutor(tmp_path / "new", rl.Placement(workers=1)).run(jobs[:1], lambda: False))
    run_in_process(jobs[0], tmp_path / "here", rl.Placement(), lambda: False, lambda _: None)
    folders = [
        RunFolder.find(tmp_path / kind, jobs[0].id).path for kind in ("launched", "new", "here")
    ]
    for name in ("weights.safetensors", "logits-test.safetensors"):
        assert len({sha256(folder / name) for folder in folders}) == 1
