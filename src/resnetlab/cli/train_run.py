"""Training of one run from the command line, with progress, signals and the printed result."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from resnetlab.api.single_runs import train_job
from resnetlab.cli.common import UNFINISHED, VERBOSITY, notify, print_json, stop_signal
from resnetlab.errors import Problem, UnfinishedError, input_error
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.messages import format_count, format_duration, silent
from resnetlab.recipes.numerics import Placement, parse_device, torchrun_env
from resnetlab.reports.format import capitalize_first, format_first_loss
from resnetlab.runs.killed import KILLED, was_killed
from resnetlab.runs.records import Result, to_dict
from resnetlab.runs.run_folder import PROFILE, RunFolder
from resnetlab.shell import command_line, resume_command
from resnetlab.studies.executors.base import missing_error
from resnetlab.studies.executors.messages import Job, RunEvent, make_request
from resnetlab.studies.progress import run_display
from resnetlab.studies.single_run import more_epochs_command, plan_run, resume_job
from resnetlab.tracking.tracker_copy import (
    TrackerCopy,
    copy_reports,
    open_tracker_copies,
)
from resnetlab.training.resolve import check_device_index


def train(
    model: str,
    data: str,
    recipe: str,
    *,
    seed: int,
    settings: Sequence[str],
    diagnostics: DiagnosticsConfig,
    output: Path,
    placement: Placement,
    as_json: bool = False,
    dry_run: bool = False,
    track: Sequence[str] = (),
) -> None:
    """Train one network and print its result, or with `dry_run` print its plan."""
    rank, size, _ = torchrun_env()
    plan = plan_run(
        model,
        data,
        recipe,
        seed=seed,
        settings=[*settings, *([f"numerics.world_size={size}"] if size > 1 else [])],
        diagnostics=diagnostics,
        output=output,
        notify=notify if rank == 0 else silent,
        download=not dry_run,
    )
    run = plan.runs[0]
    check_device_index(run.config.numerics.device, placement.device_index)
    if dry_run:
        from resnetlab.cli.plan_forecast import print_forecast
        from resnetlab.studies.planning import absent_data

        if not as_json and not absent_data(plan.study):
            typer.echo(f"Run: {RunFolder.find(output, run.id).path}")
        print_forecast(plan, output, 1, as_json=as_json, is_study=False)
        return
    # With torchrun, the first process copies the run, and the others would copy it again.
    tracker_copies = open_tracker_copies(track if rank == 0 else (), plan, output)
    _execute(Job(run.id, run.file), output, placement, as_json, tracker_copies=tracker_copies)
    copy_reports(tracker_copies, notify)


def resume(
    folder: Path,
    from_step: int | None,
    data: str | None,
    device: str = "",
    epochs: int | None = None,
    *,
    as_json: bool,
) -> None:
    """Resume one run, on the GPU that `device` names, and print its result.

    With another number of `epochs`, train another run from the start.
    """
    kind, index = parse_device(device) if device else ("auto", 0)
    job, root = resume_job(folder, from_step=from_step, data=data, epochs=epochs)
    run_folder = RunFolder.find(root, job.id)
    if was_killed(run_folder.path):
        notify(f"The last process of this run {KILLED}.")
    if not run_folder.needs_work(job.file):
        more = more_epochs_command(job.file, folder)
        hint = f" For another run with more epochs, from the start: {more}" if more else ""
        notify(f"The run is finished.{hint}")
    elif job.id != folder.resolve().name:
        notify(f"Another number of epochs is another run, from the start: {run_folder.path}")
    run_device = job.file.run.numerics.device
    if kind not in ("auto", run_device):
        fix = "leave the option out: the device is part of the identity of a run"
        raise input_error("--device", "not the run's device", fix, got=kind, allowed=run_device)
    check_device_index(run_device, index)
    options = (*(("--data", data) if data else ()), *(("--device", device) if device else ()))
    _execute(job, root, Placement(device_index=index), as_json, options)


def _execute(
    job: Job,
    root: Path,
    placement: Placement,
    as_json: bool,
    options: Sequence[str] = (),
    tracker_copies: Sequence[TrackerCopy] = (),
) -> None:
    """Train a run, copy it to trackers and print its result.

    `options` are those of the command that resumes it.
    """
    run_folder = RunFolder.find(root, job.id)
    if not options and placement.device_index:
        options = ("--device", f"{job.file.run.numerics.device}:{placement.device_index}")
    if torchrun_env().world_size > 1:
        _execute_distributed(job, run_folder, root, placement, as_json)
        return
    needs_work = run_folder.needs_work(job.file)
    if placement.profile and not needs_work:
        notify("The run is finished, so nothing is profiled. Give another --seed or --output.")
        placement = replace(placement, profile=False)
    missing: RunEvent | None = None
    with stop_signal().installed() as interrupt:
        if needs_work:
            missing = train_job(
                job,
                root,
                placement,
                interrupt.is_set,
                progress=not VERBOSITY.quiet,
                tracker_copies=tracker_copies,
            )
    result = run_folder.result()
    if result is None and interrupt.is_set():
        command = _continue_command(run_folder, options)
        print(f"Nothing is lost. To continue: {command}", file=sys.stderr)
        raise typer.Exit(interrupt.exit_code)
    if result is None:
        command = _continue_command(run_folder, options)
        missing = missing or RunEvent("missing", job.id)
        raise missing_error(missing, str(run_folder.path), command)
    _print_result(run_folder, result, placement.profile, as_json)


def _continue_command(run_folder: RunFolder, options: Sequence[str]) -> str:
    """Return the command that continues a run, or this command if the run has not begun."""
    if (run_folder.path / "run.json").exists():
        return resume_command(run_folder.path, *options)
    return command_line(["resnetlab", *sys.argv[1:]])


def _execute_distributed(
    job: Job, run_folder: RunFolder, root: Path, placement: Placement, as_json: bool
) -> None:
    """Train this process's part of a run that torchrun started."""
    from resnetlab.studies.executors.worker import JobRunner
    from resnetlab.training.distributed import process_group, torchrun_world

    world = torchrun_world()
    last = RunEvent("idle")
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(stop_signal().installed())
        stack.enter_context(process_group(world, job.file.run.numerics.device))
        display = (
            stack.enter_context(run_display(job, root, VERBOSITY.quiet))
            if world.is_main_process
            else None
        )

        def handle(event: RunEvent) -> None:
            nonlocal last
            last = event
            if display:
                display.update(event)

        placement = replace(placement, device_index=world.local_rank)
        JobRunner(interrupt.is_set, handle, world).run(make_request(job, root, placement))
    if last.kind == "locked":
        message = "another process trains this run"
        raise UnfinishedError(Problem(str(run_folder.path), message, "wait for it"))
    if last.kind == "failed":
        raise missing_error(last, str(run_folder.path), "see above")
    if last.kind == "interrupted":
        raise typer.Exit(interrupt.exit_code if interrupt.is_set() else UNFINISHED)
    if world.is_main_process and (result := run_folder.result()):
        _print_result(run_folder, result, placement.profile, as_json)


def _first_loss(run_folder: RunFolder) -> str:
    """Return the loss on train images in training mode before the first step beside ln K, in words.

    It is empty if the loss was not recorded or was not finite.
    """
    losses = [
        line.loss_nats
        for line in run_folder.metrics()
        if line.step == 0 and line.split == "train epoch" and line.loss_nats is not None
    ]
    if not losses:
        return ""
    classes = len(run_folder.file().classes)
    return capitalize_first(format_first_loss(losses, classes, "training"))


def _print_result(run_folder: RunFolder, result: Result, profiled: bool, as_json: bool) -> None:
    trace = run_folder.path / PROFILE if profiled else None
    if as_json and (record := run_folder.record()) is not None:
        print_json(to_dict(record) | {"profile": trace and str(trace)})
        return
    typer.echo(f"{result.status}{f': {result.reason}' if result.reason else ''}")
    scores_by_split = {
        "train": result.train,
        "validation": result.validation,
        "test": result.test,
    }
    for split, scores in scores_by_split.items():
        if scores is not None:
            accuracy_pct = scores.top1_accuracy_pct
            typer.echo(
                f"{split:10} {accuracy_pct:5.1f} % of {format_count(scores.images, 'image')}"
            )
    if first_loss := _first_loss(run_folder):
        typer.echo(first_loss)
    duration = format_duration(result.train_seconds)
    typer.echo(f"{duration} of training, {result.images_per_second:,.0f} images/s")
    if trace:
        typer.echo(f"\n{run_folder.read_profile()}\nTrace: {trace}")
    typer.echo(f"Run: {run_folder.path}")
