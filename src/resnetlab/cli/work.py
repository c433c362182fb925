"""Commands that train: signals, progress display, and the command to continue."""

from __future__ import annotations

import contextlib
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
from resnetlab.cli.display import Display, format_clock
from resnetlab.cli.manners import CHECK_FAILED, DONE, UNFINISHED, notify, open_page, print_json
from resnetlab.errors import Problem, ResourceError, input_error
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.recipes.numerics import Placement, parse_device, torchrun_env
from resnetlab.runs.directory import PROFILE, RunDirectory
from resnetlab.runs.records import Result, to_dict
from resnetlab.shell import command_line, resume_command
from resnetlab.studies import outlook
from resnetlab.studies.executors.base import Executor, Job, RunEvent, decode_event, encode_job
from resnetlab.studies.executors.here import run_in_process
from resnetlab.studies.executors.local import LocalExecutor
from resnetlab.studies.plan import Plan, PlannedRun
from resnetlab.studies.run import past_runs, pending_runs, read_record
from resnetlab.training.resolve import check_device_index


class SignalFlag:
    """Flag that SIGINT or SIGTERM sets, with the number of the signal."""

    def __init__(self) -> None:
        self.number = 0

    def is_set(self) -> bool:
        return self.number != 0

    @contextlib.contextmanager
    def installed(self) -> Iterator[SignalFlag]:
        """Set the flag on the first SIGINT or SIGTERM in the `with` block; end the program on the
        second.

        Runs stay resumable in both cases.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return

        def on_signal(number: int, _: object) -> None:
            if self.number:
                raise KeyboardInterrupt
            self.number = number
            notify("\nStopping: each run writes a checkpoint.")

        previous = {
            number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def choose_executor(name: str, output: Path, placement: Placement, address: str) -> Executor:
    """Return the backend of this name.

    Raises InputError if it is unknown or its packages are not installed.
    """
    match name:
        case "local":
            return LocalExecutor(output, placement)
        case "ray":
            if placement.parallel_seeds > 1:
                raise input_error(
                    "",
                    "runs side by side are not for Ray",
                    "--gpus-per-run 0.2",
                    field="parallel_seeds",
                )
            try:
                from resnetlab.studies.executors.ray import RayExecutor
            except ImportError:
                raise input_error(
                    "", "ray is not installed", "pip install 'resnetlab[ray]'", field="backend"
                ) from None
            return RayExecutor(output, placement, address)
        case _:
            raise input_error(
                "",
                "no such backend",
                "--backend local",
                field="backend",
                got=name,
                allowed="local, ray",
            )


def run_study(
    loaded: api.LoadedStudy,
    output: Path,
    executor: Executor,
    max_seeds: int | None,
    accept_license: bool,
    *,
    as_json: bool = False,
    open_report: bool = False,
) -> int:
    """Run the missing runs of a study, write its report and return the exit code."""
    again = command_line(["resnetlab", *sys.argv[1:]])
    with SignalFlag().installed() as interrupt:
        for plan in loaded.plan_rounds(output, notify, max_seeds, executor, accept_license):
            try:
                _run_plan(loaded, plan, output, executor, interrupt)
            except ResourceError as error:
                fix = f"free some space, then: {again}"
                raise ResourceError(
                    *(Problem(p.where, p.what, fix) for p in error.problems)
                ) from None
            outcome = loaded.report(plan, output)
            if interrupt.is_set():
                break
    # With `most_seeds`, more seeds may follow after an interim analysis.
    if interrupt.is_set() and (max_seeds is not None or not outcome.finished):
        print(f"Nothing finished is lost. To go on: {again}", file=sys.stderr)
        return 128 + interrupt.number
    if as_json:
        print_json(outcome.to_dict())
    else:
        typer.echo(outcome.answer)
        typer.echo(f"Report: {outcome.report}")
    if open_report:
        open_page(outcome.report)
    return DONE if outcome.finished else UNFINISHED


def _run_plan(
    loaded: api.LoadedStudy, plan: Plan, output: Path, executor: Executor, interrupt: SignalFlag
) -> None:
    remaining = pending_runs(plan, output)
    finished = {run.id for run in plan.runs} - {run.id for run in remaining}
    count = executor.max_parallel([Job(run.id, run.file) for run in remaining])
    with Display(plan.study.name, plan.runs, finished, count, _result_loader(output)) as display:
        for event in loaded.execute(plan, output, executor, interrupt.is_set, remaining):
            display.update(event)


def show_plan(
    plan: Plan, output: Path, workers: int, *, as_json: bool = False, power: bool = True
) -> int:
    """Print the estimated time of a plan and, with `power`, its statistical power.

    Return the exit code.
    """
    remaining = {run.id for run in pending_runs(plan, output)}
    jobs = [Job(run.id, run.file) for run in plan.runs if run.id in remaining]
    count = LocalExecutor(output, Placement(workers=workers)).max_parallel(jobs)
    ahead = outlook.outlook(plan, read_record(plan, output), past_runs(output), remaining, count)
    if as_json:
        print_json(outlook.to_dict(ahead) | {"ids": [run.id for run in plan.runs]})
        return DONE
    for line in _outlook_lines(ahead, power):
        typer.echo(line)
    return DONE


def _outlook_lines(plan_outlook: outlook.Outlook, power: bool) -> Iterator[str]:
    yield f"{plan_outlook.study}: {plan_outlook.runs} runs, {plan_outlook.finished} finished"
    for condition in plan_outlook.conditions:
        seconds = condition.seconds
        pace = (
            f"about {format_clock(seconds)} each"
            if seconds is not None
            else "no past run tells how long"
        )
        yield f"  {condition.label:24} {condition.runs} runs, {condition.to_do} to do, {pace}"
    if plan_outlook.finished < plan_outlook.runs and (seconds := plan_outlook.seconds) is not None:
        hours = f"{seconds / 3600:.2f} worker-hours"
        yield (
            f"about {format_clock(seconds / plan_outlook.workers)} of training on "
            f"{plan_outlook.workers} workers: "
            f"{hours}"
        )
    effect, seeds = plan_outlook.detectable_effect_sds, plan_outlook.conditions[0].runs
    if power and effect is None:
        yield "one seed: no interval and no test; two are the least"
    elif power and effect is not None:
        yield (
            f"{seeds} seeds a condition find a difference of {effect:.2f} standard deviations "
            "of a run with 80 % "
            f"power; one of a single standard deviation takes {plan_outlook.seeds_for_one_sd}"
        )
        for condition in plan_outlook.conditions:
            if condition.sd_points is not None:
                spread = (
                    f"sd {condition.sd_points:.2f} points over {condition.measured_runs} runs so "
                    "far"
                )
                yield f"  {condition.label:24} {spread}: {effect * condition.sd_points:.1f} points"
    yield from plan_outlook.warnings if power else ()


def verify_result(
    folder: Path, output: Path | None, runs: int, seed: int, data: str, *, as_json: bool = False
) -> int:
    """Repeat some runs of a report. Return an exit code that tells whether all agree with it."""
    from resnetlab.replication import format_replication, summary, to_dict, verify

    with contextlib.ExitStack() as stack:
        root = output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        interrupt = stack.enter_context(SignalFlag().installed())

        def train(loaded: api.LoadedStudy, plan: Plan) -> bool:
            _run_plan(loaded, plan, root, LocalExecutor(root, Placement()), interrupt)
            return not interrupt.is_set()

        items = []
        for item in verify(
            folder, root, num_runs=runs, seed=seed, data=data, notify=notify, train=train
        ):
            (notify if as_json else typer.echo)(format_replication(item))
            items.append(item)
    if interrupt.is_set():
        advice = (
            "the same command continues"
            if output
            else "the unfinished run is lost; --output DIR keeps it"
        )
        print(f"Stopped after {len(items)} of {runs} runs; {advice}.", file=sys.stderr)
        return 128 + interrupt.number
    if as_json:
        print_json(to_dict(items))
    else:
        typer.echo(summary(items))
    return DONE if all(item.is_consistent for item in items) else CHECK_FAILED


def train_one(
    model: str,
    data: str,
    recipe: str,
    settings: list[str],
    seed: int,
    diagnostics: DiagnosticsConfig,
    output: Path,
    placement: Placement,
    *,
    as_json: bool = False,
    dry_run: bool = False,
) -> int:
    """Train one network, or with `dry_run` print its plan. Return the exit code."""
    rank, size, _ = torchrun_env()
    shared = [f"numerics.world_size={size}"] if size > 1 else []
    say = notify if rank == 0 else lambda _: None
    plan = api.plan_run(
        model,
        data,
        recipe,
        seed=seed,
        settings=[*settings, *shared],
        diagnostics=diagnostics,
        output=output,
        notify=say,
    )
    check_device_index(plan.runs[0].file.run.numerics.device, placement.device_index)
    if dry_run:
        if not as_json:
            typer.echo(f"Run: {RunDirectory.find(output, plan.runs[0].id).path}")
        return show_plan(plan, output, 1, as_json=as_json, power=False)
    return _run_one(Job(plan.runs[0].id, plan.runs[0].file), output, placement, as_json)


def resume_one(
    folder: Path,
    from_step: int | None,
    data: str | None,
    device: str = "",
    *,
    as_json: bool = False,
) -> int:
    """Resume one run on the GPU that `device` names. Return the exit code."""
    job, root = api.resume_job(folder, from_step=from_step, data=data)
    placement, own = Placement(), job.file.run.numerics.device
    if device:
        kind, index = parse_device(device)
        if kind not in ("auto", own):
            fix = "leave it out: the device is part of what the run is"
            raise input_error("--device", "not the run's device", fix, got=kind, allowed=own)
        placement = Placement(device_index=index)
    check_device_index(own, placement.device_index)
    return _run_one(job, root, placement, as_json)


def _run_one(job: Job, root: Path, placement: Placement, as_json: bool) -> int:
    directory = RunDirectory.find(root, job.id)
    if torchrun_env()[1] > 1:
        return _run_distributed(job, root, placement, as_json)
    if placement.profile and not directory.needs_work(job.file):
        notify("The run is finished: there is nothing to profile. Another --seed or --output has.")
        placement = replace(placement, profile=False)
    with SignalFlag().installed() as interrupt:
        reason = ""
        if directory.needs_work(job.file):
            run = job.file.run
            planned = PlannedRun(
                condition=run.model.title, seed=run.seed, id=job.id, file=job.file, macs=1
            )
            with Display(job.id, (planned,), set(), 1, _result_loader(root)) as display:

                def on_event(event: RunEvent) -> None:
                    nonlocal reason
                    display.update(event)
                    reason = event.reason if event.kind == "missing" else reason

                run_in_process(job, root, placement, interrupt.is_set, on_event)
    result = directory.result()
    if result is None and interrupt.is_set():
        print(f"Nothing is lost. To go on: {resume_command(directory.path)}", file=sys.stderr)
        return 128 + interrupt.number
    if result is None:
        raise api.UnfinishedError(
            Problem(str(directory.path), reason, resume_command(directory.path))
        )
    _print_result(directory, result, placement.profile, as_json)
    return DONE


def _run_distributed(job: Job, root: Path, placement: Placement, as_json: bool) -> int:
    """Train this process's part of a run that torchrun started. Return the exit code."""
    from resnetlab.studies.executors.worker import JobRunner
    from resnetlab.training.distributed import process_group, torchrun_world

    team, directory, last = torchrun_world(), RunDirectory.find(root, job.id), dict[str, Any]()
    run = job.file.run
    planned = PlannedRun(condition=run.model.title, seed=run.seed, id=job.id, file=job.file, macs=1)
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(SignalFlag().installed())
        stack.enter_context(process_group(team, run.numerics.device))
        display = (
            stack.enter_context(Display(job.id, (planned,), set(), 1, _result_loader(root)))
            if team.is_main_process
            else None
        )

        def on_message(**message: Any) -> None:
            last.update(message)
            if display:
                display.update(decode_event(message))

        placement = replace(placement, device_index=team.local_rank)
        JobRunner(interrupt.is_set, on_message, team).run(encode_job(job, root, placement))
    if last["kind"] in ("failed", "busy"):
        reason = last.get("reason", "another process trains this run")
        raise api.UnfinishedError(Problem(str(directory.path), reason, "see above"))
    if last["kind"] == "interrupted":
        return 128 + interrupt.number if interrupt.is_set() else UNFINISHED
    if team.is_main_process and (result := directory.result()):
        _print_result(directory, result, placement.profile, as_json)
    return DONE


def _print_result(directory: RunDirectory, result: Result, profiled: bool, as_json: bool) -> None:
    if as_json and (record := directory.record()) is not None:
        print_json(
            to_dict(record) | {"profile": str(directory.path / PROFILE) if profiled else None}
        )
        return
    typer.echo(f"{result.status}{f': {result.reason}' if result.reason else ''}")
    for name, scores in (
        ("train", result.train),
        ("validation", result.validation),
        ("test", result.test),
    ):
        if scores is not None:
            typer.echo(
                f"{name:10} {100 - scores.top1_error_pct:5.1f} % of {scores.images:,} images"
            )
    typer.echo(
        f"{format_clock(result.train_seconds)} of training, {result.images_per_second:,.0f} "
        "images/s"
    )
    if profiled:
        typer.echo(f"\n{directory.profile()}\nTrace: {directory.path / PROFILE}")
    typer.echo(f"Run: {directory.path}")


def _result_loader(root: Path) -> Callable[[str], Result | None]:
    return lambda run_id: RunDirectory.find(root, run_id).result()
