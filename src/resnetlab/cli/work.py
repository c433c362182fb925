"""The commands that train, as a person meets them: signals, display, what to type next."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from resnetlab import api
from resnetlab.cli.display import Display, clock, to_stderr
from resnetlab.errors import Problem, ResourceError, mistake
from resnetlab.inspection.measured import Instruments
from resnetlab.runs.directory import PROFILE, RunDirectory
from resnetlab.runs.record import Result
from resnetlab.shell import command_line, resume_command
from resnetlab.stats.estimate import variance
from resnetlab.stats.power import runs_for, smallest_effect
from resnetlab.studies.backends.here import run_here
from resnetlab.studies.backends.jobs import Backend, Event, Job, event_of, message_of
from resnetlab.studies.backends.local import LocalBackend
from resnetlab.studies.estimate import expected_seconds
from resnetlab.studies.plan import Plan, PlannedRun
from resnetlab.studies.refusals import cautions
from resnetlab.studies.run import missing, past_runs, read_record
from resnetlab.training.numerics import Placement, place

SOME_FAILED = 3


class Interrupt:
    """Whether a signal asked for the end, and which."""

    def __init__(self) -> None:
        self.number = 0

    def asked(self) -> bool:
        return self.number != 0

    @contextlib.contextmanager
    def watched(self) -> Iterator[Interrupt]:
        """SIGINT and SIGTERM set a flag, once; a second one ends the program, whose runs stay resumable."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return

        def take(number: int, _: object) -> None:
            if self.number:
                raise KeyboardInterrupt
            self.number = number
            to_stderr("\nStopping: each run writes a checkpoint.")

        before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def choose_backend(name: str, output: Path, placement: Placement, address: str) -> Backend:
    """The backend of that name. Raises InputError when there is none, or what it needs is not installed."""
    match name:
        case "local":
            return LocalBackend(output, placement)
        case "ray":
            if placement.abreast > 1:
                raise mistake("", "runs side by side are not for Ray", "--gpus-per-run 0.2", field="abreast")
            try:
                from resnetlab.studies.backends.ray import RayBackend
            except ImportError:
                raise mistake("", "ray is not installed", "pip install 'resnetlab[ray]'", field="backend") from None
            return RayBackend(output, placement, address)
        case _:
            raise mistake("", "no such backend", "--backend local", field="backend", got=name, allowed="local, ray")


def run_study(
    loaded: api.LoadedStudy, output: Path, backend: Backend, most_seeds: int | None, accept_licence: bool
) -> int:
    """Do what a study lacks and report it, in one go or look by look; the exit code."""
    again = command_line(["resnetlab", *sys.argv[1:]])
    with Interrupt().watched() as interrupt:
        for plan in loaded.stages(output, to_stderr, most_seeds, backend, accept_licence):
            try:
                _run_plan(loaded, plan, output, backend, interrupt)
            except ResourceError as error:
                fix = f"free some space, then: {again}"
                raise ResourceError(*(Problem(p.where, p.what, fix) for p in error.problems)) from None
            outcome = loaded.report(plan, output)
            if interrupt.asked():
                break
    if interrupt.asked() and (most_seeds is not None or not outcome.finished):  # a look may not be the last one
        to_stderr(f"Nothing finished is lost. To go on: {again}")
        return 128 + interrupt.number
    typer.echo(outcome.answer)
    typer.echo(f"Report: {outcome.report}")
    return 0 if outcome.finished else SOME_FAILED


def _run_plan(loaded: api.LoadedStudy, plan: Plan, output: Path, backend: Backend, interrupt: Interrupt) -> None:
    left = missing(plan, output)
    finished = {run.id for run in plan.runs} - {run.id for run in left}
    count = backend.width([Job(run.id, run.file) for run in left])
    with Display(plan.study.name, plan.runs, finished, count, _results(output)) as display:
        for event in loaded.events(plan, output, backend, interrupt.asked):
            display.see(event)


def show_plan(loaded: api.LoadedStudy, output: Path, workers: int) -> None:
    """What a study will take, by past throughput, and the smallest difference that its seeds can find."""
    plan = loaded.plan(output, to_stderr)
    past = past_runs(output)
    left = {run.id for run in missing(plan, output)}
    typer.echo(f"{plan.study.name}: {len(plan.runs)} runs, {len(plan.runs) - len(left)} of them finished")
    total, unknown = 0.0, 0
    for condition in plan.study.conditions:
        runs = [run for run in plan.runs if run.condition == condition.label]
        seconds = expected_seconds(runs[0], past)
        to_do = sum(run.id in left for run in runs)
        total, unknown = total + to_do * (seconds or 0.0), unknown + to_do * (seconds is None)
        pace = f"about {clock(seconds)} each" if seconds is not None else "no past run tells how long"
        typer.echo(f"  {condition.label:24} {len(runs)} runs, {to_do} to do, {pace}")
    backend = LocalBackend(output, Placement(workers=workers))
    count = backend.width([Job(run.id, run.file) for run in plan.runs if run.id in left])
    if left and not unknown:
        typer.echo(f"about {clock(total / count)} of training on {count} workers: {total / 3600:.2f} worker-hours")
    for line in _findable(plan, output):
        typer.echo(line)


def _findable(plan: Plan, output: Path) -> Iterator[str]:
    """The smallest difference between two conditions that the seeds find with 80 % power."""
    seeds = len(plan.study.seeds)
    if seeds < 2:
        yield "one seed: no interval and no test; two are the least"
        yield from cautions(plan.study.claims, seeds, plan.study.published)
        return
    found = smallest_effect(seeds)
    yield (
        f"{seeds} seeds a condition find a difference of {found:.2f} standard deviations of a run with 80 % power; "
        f"one of a single standard deviation takes {math.ceil(runs_for(1.0))}"
    )
    record = read_record(plan, output)
    for condition in plan.study.conditions:
        results = [cell.record.result for cell in record.of(condition.label) if cell.record is not None]
        values = [100 - r.test.top1_error_pct for r in results if r and r.status == "converged" and r.test]
        if len(values) > 1 and (sd := variance(values) ** 0.5):
            yield f"  {condition.label:24} sd {sd:.2f} points over {len(values)} runs so far: {found * sd:.1f} points"
    yield from cautions(plan.study.claims, seeds, plan.study.published)


def verify_result(folder: Path, output: Path | None, cells: int, seed: int, data: str) -> int:
    """Repeat some runs of a report; 0 where each falls where it should, else 1."""
    from resnetlab.verify import line, summary, verify

    with contextlib.ExitStack() as stack:
        root = output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        items = []
        for item in verify(folder, root, cells=cells, seed=seed, data=data, say=to_stderr):
            typer.echo(line(item))
            items.append(item)
    typer.echo(summary(items))
    return 0 if all(item.holds for item in items) else 1


def train_one(
    model: str, data: str, recipe: str, settings: list[str], seed: int, instruments: Instruments, output: Path,
    placement: Placement,
) -> int:  # fmt: skip
    """Train one network; the exit code."""
    rank, size, _ = place()
    shared = [f"numerics.ranks={size}"] if size > 1 else []
    say = to_stderr if rank == 0 else lambda _: None
    plan = api.plan_run(
        model, data, recipe, seed=seed, settings=[*settings, *shared], instruments=instruments, output=output, say=say
    )
    return _one(Job(plan.runs[0].id, plan.runs[0].file), output, placement)


def resume_one(folder: Path, from_step: int | None, data: str | None) -> int:
    """Go on with one run; the exit code."""
    job, root = api.resume_job(folder, from_step=from_step, data=data)
    return _one(job, root, Placement())


def _one(job: Job, root: Path, placement: Placement) -> int:
    directory = RunDirectory.of(root, job.id)
    if place()[1] > 1:
        return _shared(job, root, placement)
    if placement.profile and not directory.lacks(job.file):
        to_stderr("The run is finished: there is nothing to profile. Another --seed or --output has.")
        placement = Placement()
    with Interrupt().watched() as interrupt:
        reason = ""
        if directory.lacks(job.file):
            run = job.file.run
            planned = PlannedRun(condition=run.model.title, seed=run.seed, id=job.id, file=job.file, macs=1)
            with Display(job.id, (planned,), set(), 1, _results(root)) as display:

                def see(event: Event) -> None:
                    nonlocal reason
                    display.see(event)
                    reason = event.reason if event.kind == "missing" else reason

                run_here(job, root, placement, interrupt.asked, see)
    result = directory.result()
    if result is None and interrupt.asked():
        to_stderr(f"Nothing is lost. To go on: {resume_command(directory.path)}")
        return 128 + interrupt.number
    if result is None:
        raise api.UnfinishedError(Problem(str(directory.path), reason, resume_command(directory.path)))
    _show(directory, result, placement.profile)
    return 0


def _shared(job: Job, root: Path, placement: Placement) -> int:
    """This process's part of a run that torchrun started several processes for; the exit code."""
    from resnetlab.studies.backends.worker import Bench
    from resnetlab.training.team import from_environment, joined

    team, directory, last = from_environment(), RunDirectory.of(root, job.id), dict[str, Any]()
    run = job.file.run
    planned = PlannedRun(condition=run.model.title, seed=run.seed, id=job.id, file=job.file, macs=1)
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt().watched())
        stack.enter_context(joined(team, run.numerics.device))
        display = stack.enter_context(Display(job.id, (planned,), set(), 1, _results(root))) if team.first else None

        def tell(**message: Any) -> None:
            last.update(message)
            if display:
                display.see(event_of(message))

        Bench(interrupt.asked, tell, team).work(message_of(job, root, replace(placement, device_index=team.local)))
    if last["kind"] in ("failed", "busy"):
        reason = last.get("reason", "another process trains this run")
        raise api.UnfinishedError(Problem(str(directory.path), reason, "see above"))
    if last["kind"] == "stopped":
        return 128 + interrupt.number if interrupt.asked() else SOME_FAILED
    if team.first and (result := directory.result()):
        _show(directory, result, placement.profile)
    return 0


def _show(directory: RunDirectory, result: Result, profiled: bool) -> None:
    typer.echo(f"{result.status}{f': {result.reason}' if result.reason else ''}")
    for name, scores in (("train", result.train), ("validation", result.validation), ("test", result.test)):
        if scores is not None:
            typer.echo(f"{name:10} {100 - scores.top1_error_pct:5.1f} % of {scores.images:,} images")
    typer.echo(f"{clock(result.train_seconds)} of training, {result.images_per_second:,.0f} images/s")
    if profiled:
        typer.echo(f"\n{directory.profile()}\nTrace: {directory.path / PROFILE}")
    typer.echo(f"Run: {directory.path}")


def _results(root: Path) -> Callable[[str], Result | None]:
    return lambda run_id: RunDirectory.of(root, run_id).result()
