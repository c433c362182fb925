"""Promise: a killed study or worker loses no finished run, leaves no process behind, and ends with
the bits of one that nothing interrupted.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.phases import AFTER, DRIVER, PHASES, WRITE, Phases
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
from helpers.trials import TrialServer

LAST_CHECKPOINT = 12
"""Step of the last of the 14 steps of a run with a checkpoint: each third step has one."""

PREPARE = "helpers.injections:slow_steps 0.02;helpers.injections:fork_launcher"
"""Makes the phases between the checkpoints as long as the others, and the workers start fast."""


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
def test_after_kill_9_finished_runs_stay_and_the_other_runs_have_the_same_bits(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any]]
) -> None:
    kill_and_go_on(tmp_path, *uninterrupted, [0.4])


@pytest.mark.slow
def test_killed_parallel_seeds_resume_with_the_bits_of_single_runs(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any]]
) -> None:
    kill_and_go_on(tmp_path, *uninterrupted, [0.4], "-j", "1", "--parallel-seeds", "2")


class KilledStudy:
    """Study of four runs by two workers that is killed again and again.

    Its driver is a trial, its workers are copies of that process, and its runs have a checkpoint
    after each third step.
    """

    def __init__(
        self, server: TrialServer, study: Path, root: Path, generator: random.Random
    ) -> None:
        self.server, self.study, self.root, self.generator = server, study, root, generator
        self.counts = Counter[str]()
        """Unfinished runs of the kills by their phase, and kills during a write of the driver."""

    def start(self, **fault: Any) -> None:
        """Start the study, or go on with it."""
        command = ("study", "run", self.study, "--output", self.root, "-j", "2")
        self.server.start(*command, prepare=PREPARE, **fault)

    def kill(self, aim: str, victims: str) -> bool:
        """Kill the driver, a worker or all processes in a phase. Only without a killed driver the
        study goes on to its end.

        Return False if it ended before.
        """
        phases = Phases(self.root, LAST_CHECKPOINT)
        before, saved = finished(self.root), self.saved()
        self.start(**self.fault(aim))
        if aim == WRITE:
            while self.server.is_alive() and not self.mark.exists():
                time.sleep(0.01)
        elif aim != DRIVER and phases.wait_for(aim, self.server.is_alive):
            time.sleep(self.generator.uniform(0, 0.1))
        hit = aim != DRIVER and self.server.is_alive()
        if hit:
            self.counts.update(phase for phase in phases.by_run().values() if phase != AFTER)
            for worker in workers_of(self.root)[: {"driver": 0, "worker": 1, "all": None}[victims]]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            if victims != "worker":
                self.server.kill()
        trial = self.server.wait()
        assert trial.code in (0, -9), trial.output
        if aim == DRIVER:
            hit = trial.code == -9
            self.counts[DRIVER] += hit
        assert wait_for(lambda: not workers_of(self.root), 30)
        after = finished(self.root)
        assert {name: after[name] for name in before} == before
        for run, step in self.saved().items():
            assert step >= saved.get(run, 0), run
        return hit

    @property
    def mark(self) -> Path:
        """File that shows that a worker was killed while it wrote a checkpoint."""
        return self.root.with_suffix(".mark")

    def fault(self, aim: str) -> dict[str, Any]:
        """Return the options of a trial in which a process kills itself at a file operation."""
        kind = self.generator.choice(("kill before", "kill after"))
        if aim == DRIVER:  # the plan is written first; the report follows the last run
            at = (
                self.generator.randrange(40) if finished(self.root) else self.generator.randrange(4)
            )
            return {"root": self.root, "part": "/studies/", "fault": kind, "at": at}
        if aim == WRITE:
            self.mark.unlink(missing_ok=True)
            fault = {"root": self.root, "part": "checkpoints/", "fault": kind, "once": self.mark}
            return fault | {"at": self.generator.randrange(14)}
        return {}

    def saved(self) -> dict[str, int]:
        """Return the step of the last checkpoint of each unfinished run."""
        steps: dict[str, int] = {}
        for path in self.root.glob("runs/*/checkpoints/*/MANIFEST.json"):
            run = path.parents[2].name
            steps[run] = max(steps.get(run, 0), int(path.parent.name))
        return steps


@pytest.mark.timeout(3600)
def test_kills_in_every_phase_lose_nothing(
    server: TrialServer,
    study_file: Path,
    tmp_path: Path,
    few: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    generator, kills, counts, studies = random.Random(0), 0, Counter[str](), 0
    calm = KilledStudy(server, study_file, tmp_path / "calm", generator)
    calm.start()
    assert (trial := server.wait()).code == 0, trial.output
    expected = outcomes(calm.root)
    while kills < few(200) or not all(counts[phase] for phase in (*PHASES, DRIVER)):
        killed = KilledStudy(server, study_file, tmp_path / str(studies), generator)
        for aim in (DRIVER, *generator.sample(PHASES, len(PHASES))):
            kills += killed.kill(aim, generator.choice(("driver", "all")))
        kills += killed.kill(generator.choice(PHASES), "worker")
        kills += killed.kill(DRIVER, "driver")
        killed.start()
        assert (trial := server.wait()).code == 0, trial.output
        assert outcomes(killed.root) == expected
        counts += killed.counts
        studies += 1
    phases = ", ".join(f"{counts[phase]} {phase}" for phase in PHASES)
    figures(
        f"{kills} kills of {studies} studies, 0 finished runs lost, 0 bits differ, 0 checkpoints "
        f"lost; unfinished runs at these instants: {phases}; {counts[DRIVER]} kills {DRIVER}"
    )


@pytest.mark.slow
def test_a_killed_driver_leaves_no_orphan_and_two_workers_resume_with_the_same_bits(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any]]
) -> None:
    study, expected = uninterrupted
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


@pytest.mark.slow
def test_a_killed_worker_loses_only_its_attempt(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any]]
) -> None:
    study, expected = uninterrupted
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
