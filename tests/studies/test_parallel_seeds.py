"""Parallel runs in one process have the bits, the folders and the ends of single runs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import resnetlab as rl
from helpers.outcomes import outcome
from resnetlab.data.config import LabeledImages
from resnetlab.data.device_images import DeviceImageCache, DeviceImages
from resnetlab.data.splits import load_dataset
from resnetlab.errors import InputError
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.executors.base import JobQueue
from resnetlab.studies.executors.factory import make_executor
from resnetlab.studies.executors.messages import Job, RunEvent, make_request
from resnetlab.studies.executors.worker import JobRunner
from resnetlab.studies.single_run import plan_run
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.round_robin import round_robin

SEEDS = (0, 1, 2)
JobsAndOutcomes = tuple[list[Job], list[tuple[Any, ...]]]
COMPARED_FILES = ("weights.safetensors", "logits-test.safetensors")


def jobs_of(data: Path, root: Path, *settings: str, seeds: tuple[int, ...] = SEEDS) -> list[Job]:
    model = rl.CifarConfig(blocks=(1, 1), widths=(4, 8), dropout=0.1)
    fixed = (
        "numerics.threads=1",
        "numerics.precision=fp32",
        "recipe.batch_size=16",
        "recipe.epochs=3",
    )
    plans = [
        plan_run(model, str(data), "adam", seed=seed, settings=[*fixed, *settings], output=root)
        for seed in seeds
    ]
    return [Job(plan.runs[0].id, plan.runs[0].file) for plan in plans]


def run_job_groups(
    root: Path, *groups: list[Job], stop: Callable[[], bool] = lambda: False
) -> dict[str, RunEvent]:
    """Run groups of jobs one after another, and return the last event of each run."""
    last: dict[str, RunEvent] = {}
    placement = rl.Placement(checkpoint_seconds=0)
    job_runner = JobRunner(stop, lambda event: last.update({event.id: event}))
    for group in groups:
        job_runner.run(*(make_request(job, root, placement) for job in group))
    return last


def outcome_of(root: Path, job: Job) -> tuple[Any, ...]:
    """Read the files of the run of a job, without its clock fields."""
    return outcome(RunFolder.find(root, job.id).path, COMPARED_FILES)


@pytest.fixture(scope="module")
def single_run_outcomes(
    small_npz: Path, tmp_path_factory: pytest.TempPathFactory
) -> JobsAndOutcomes:
    """Three seeds, one after another."""
    root = tmp_path_factory.mktemp("alone")
    jobs = jobs_of(small_npz, root)
    run_job_groups(root, *([job] for job in jobs))
    outcomes = [outcome_of(root, job) for job in jobs]
    assert len({files["weights.safetensors"] for files, _, _ in outcomes}) == len(jobs)
    return jobs, outcomes


def test_round_robin_alternates_steps_and_returns_each_result() -> None:
    names: list[str] = []

    def run(name: str, steps: int) -> Generator[None, None, str]:
        for _ in range(steps):
            names.append(name)
            yield
        return name.upper()

    assert list(round_robin([run("a", 3), run("b", 1), run("c", 2)])) == [
        (1, "B"),
        (2, "C"),
        (0, "A"),
    ]
    assert "".join(names) == "abcaca"


def test_an_error_in_one_generator_closes_the_others() -> None:
    closed: list[str] = []

    def waits() -> Generator[None, None, None]:
        try:
            while True:
                yield
        finally:
            closed.append("closed")

    def fails() -> Generator[None, None, None]:
        yield
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(round_robin([waits(), fails()]))
    assert closed == ["closed"]


def test_parallel_seeds_have_the_bits_of_single_runs(
    tmp_path: Path,
    single_run_outcomes: JobsAndOutcomes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, expected = single_run_outcomes
    steps: list[int] = []
    plain = FromScratchState.record_step

    def record(self: FromScratchState, metrics: Tensor) -> None:
        steps.append(self.seed)
        plain(self, metrics)

    monkeypatch.setattr(FromScratchState, "record_step", record)
    last = run_job_groups(tmp_path, jobs)
    assert {event.kind for event in last.values()} == {"finished"}
    assert [outcome_of(tmp_path, job) for job in jobs] == expected
    assert steps == list(SEEDS) * (len(steps) // len(SEEDS)), "a step each, in turn"


@pytest.mark.parametrize("requested", [10, 31, 55])
def test_interrupted_parallel_seeds_resume_in_parallel_or_alone_with_the_same_bits(
    tmp_path: Path, single_run_outcomes: JobsAndOutcomes, requested: int
) -> None:
    jobs, expected = single_run_outcomes
    count = iter(range(1_000_000))
    last = run_job_groups(tmp_path, jobs, stop=lambda: next(count) >= requested)
    assert {event.kind for event in last.values()} == {"interrupted"}
    assert all(any(RunFolder.find(tmp_path, job.id).checkpoints.iterdir()) for job in jobs)
    run_job_groups(tmp_path, [jobs[0]], jobs[1:])
    assert [outcome_of(tmp_path, job) for job in jobs] == expected


def act_in(
    monkeypatch: pytest.MonkeyPatch, seed: int, act: Callable[[FromScratchState], None]
) -> None:
    """Let `act` happen after the fifth step of the run of that seed."""
    plain = FromScratchState.record_step

    def record(self: FromScratchState, metrics: Tensor) -> None:
        plain(self, metrics)
        if self.seed == seed and self.step == 5:
            act(self)

    monkeypatch.setattr(FromScratchState, "record_step", record)


def test_a_diverged_run_does_not_end_the_parallel_runs(
    tmp_path: Path,
    single_run_outcomes: JobsAndOutcomes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, expected = single_run_outcomes
    act_in(monkeypatch, 1, lambda train_state: train_state.losses.fill_(float("nan")))
    last = run_job_groups(tmp_path, jobs)
    first, _, third = (result["status"] for _, _, result in expected)
    assert [last[job.id].status for job in jobs] == [first, "diverged", third]
    assert [outcome_of(tmp_path, jobs[index]) for index in (0, 2)] == [expected[0], expected[2]]


@pytest.mark.parametrize("also_alone", [False, True])
def test_out_of_memory_is_a_result_only_for_a_run_without_parallel_runs(
    tmp_path: Path,
    single_run_outcomes: JobsAndOutcomes,
    monkeypatch: pytest.MonkeyPatch,
    also_alone: bool,
) -> None:
    jobs, expected = single_run_outcomes
    times: list[int] = []

    def runs_out(train_state: FromScratchState) -> None:
        times.append(train_state.step)
        if also_alone or len(times) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    act_in(monkeypatch, 0, runs_out)
    last = run_job_groups(tmp_path, jobs)
    assert len(times) == 2
    assert last[jobs[0].id].status == ("out of memory" if also_alone else expected[0][2]["status"])
    assert [outcome_of(tmp_path, job) for job in jobs][also_alone:] == expected[also_alone:]


def test_an_error_of_one_run_is_reported_and_the_others_continue(
    tmp_path: Path, single_run_outcomes: JobsAndOutcomes
) -> None:
    jobs, expected = single_run_outcomes
    with RunFolder.find(tmp_path, jobs[1].id).lock():
        last = run_job_groups(tmp_path, jobs)
    assert [last[job.id].kind for job in jobs] == ["finished", "locked", "finished"]
    assert [outcome_of(tmp_path, jobs[index]) for index in (0, 2)] == [expected[0], expected[2]]


def test_parallel_seeds_share_one_copy_of_the_data_on_the_device(
    tmp_path: Path,
    single_run_outcomes: JobsAndOutcomes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, _ = single_run_outcomes
    copied: list[int] = []
    plain = DeviceImages.from_images

    def count_and_copy(images: LabeledImages, device: torch.device) -> DeviceImages:
        copied.append(len(images))
        return plain(images, device)

    monkeypatch.setattr(DeviceImages, "from_images", staticmethod(count_and_copy))
    run_job_groups(tmp_path, jobs)
    dataset = load_dataset(jobs[0].file.data, tmp_path / "cache")
    assert copied.count(len(dataset.test)) == 1
    cache = DeviceImageCache()
    assert cache.get(dataset.train, torch.device("cpu")) is cache.get(
        dataset.train, torch.device("cpu")
    )


def test_ray_refuses_parallel_seeds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="parallel_seeds: not supported with Ray"):
        make_executor("ray", tmp_path, rl.Placement(parallel_seeds=2), "")


def test_a_killed_measurement_changes_no_result_of_a_finished_run(
    tmp_path: Path, single_run_outcomes: JobsAndOutcomes
) -> None:
    jobs, expected = single_run_outcomes
    run_job_groups(tmp_path, jobs[:1])
    event = JobQueue(tmp_path, list(jobs)).record_out_of_memory(jobs[0])
    assert event
    assert (event.kind, event.status) == ("finished", expected[0][2]["status"])
    assert event.status != "out of memory"
    assert outcome_of(tmp_path, jobs[0]) == expected[0]
    killed = JobQueue(tmp_path, list(jobs)).record_out_of_memory(jobs[1])
    assert killed
    assert killed.status == "out of memory"


def test_only_new_runs_of_one_condition_share_a_worker(small_npz: Path, tmp_path: Path) -> None:
    first = jobs_of(small_npz, tmp_path)
    other = jobs_of(small_npz, tmp_path, "recipe.batch_size=8")
    mixed = [job for pair in zip(first, other, strict=True) for job in pair]
    queue = JobQueue(tmp_path, list(mixed))
    assert queue.take_jobs_of_condition(2) == first[:2]
    assert queue.take_jobs_of_condition(5) == other
    assert queue.take_jobs_of_condition(5) == first[2:]
    queue = JobQueue(tmp_path, list(mixed), attempts={first[0].id: 1, other[1].id: 2})
    assert [queue.take_jobs_of_condition(3) for _ in range(4)] == [
        [first[0]],
        [other[0], other[2]],
        first[1:],
        [other[1]],
    ]
