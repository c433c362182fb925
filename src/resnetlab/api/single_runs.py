"""Training of one network without a study file: `train` and `resume`."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from resnetlab.data.config import DataConfig
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.models.configs import ModelConfig
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.records import RunRecord
from resnetlab.runs.run_folder import RunFolder
from resnetlab.shell import resume_command
from resnetlab.signals import StopSignal
from resnetlab.studies.executors.base import missing_error
from resnetlab.studies.executors.in_process import run_in_process
from resnetlab.studies.executors.messages import Job, RunEvent
from resnetlab.studies.single_run import plan_run, resume_job
from resnetlab.torch_check import check_torch
from resnetlab.tracking.tracker_copy import BackgroundCopies, TrackerCopy


def train(
    model: str | ModelConfig | Callable[..., Any],
    data: str | DataConfig,
    recipe: str | AnyRecipe = "cifar",
    *,
    seed: int = 0,
    settings: Sequence[str] = (),
    diagnostics: DiagnosticsConfig | None = None,
    output: str | Path = ".",
    should_stop: Callable[[], bool] = lambda: False,
    trust_code: bool = False,
    progress: bool = True,
) -> RunRecord:
    """Train one network and return its record: `rl.train("cifar-resnet20", "digits",
    "digits").result.test`.

    A finished run is read, not run again.

    Args:
        model: Name in the catalog, TOML file, config of the network, or a function of a module of
            yours that builds it.
        data: Name of a data set, path of an .npz file or a folder, or a `DataConfig`.
        recipe: Name in the catalog, TOML file, or config of the training recipe.
        seed: Seed of the initial weights, the order of the images and the augmentation.
        settings: Values for single fields, such as `"recipe.epochs=2"` or
            `"numerics.precision=fp32"`.
        diagnostics: Measurements during and after training.
        output: Folder that contains `runs`.
        should_stop: Function that is called between steps; training ends with a checkpoint once it
            returns True.
        trust_code: Consent to run the code (`package.module:function`) that `model` or its file
            names. A function that is passed itself needs no consent.
        progress: Show the progress: a bar in a notebook and on a terminal, lines elsewhere.

    Returns:
        The record of the run: its config, its metrics by epoch and its result.

    Raises:
        InputError: An argument or the data are invalid.
        ResourceError: The disk is full.
        UnfinishedError: The run has no result.
    """
    check_torch()
    plan = plan_run(
        model,
        data,
        recipe,
        seed=seed,
        settings=settings,
        diagnostics=diagnostics,
        output=output,
        trust_code=trust_code,
    )
    job = Job(plan.runs[0].id, plan.runs[0].file)
    return run_job(job, Path(output), should_stop, progress=progress)


def resume(
    folder: str | Path,
    *,
    from_step: int | None = None,
    data: str | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    trust_code: bool = False,
    progress: bool = True,
) -> RunRecord:
    """Resume an interrupted run.

    Args:
        folder: Folder of the run.
        from_step: Step of the checkpoint to resume from; None for the last one, 0 for a new start.
        data: Present path of the data, if it has changed.
        should_stop: Function that is called between steps; training ends with a checkpoint once it
            returns True.
        trust_code: Consent to run the code (`package.module:function`) that the run names.
        progress: Show the progress, as in `train`.

    Returns:
        The record of the run.

    Raises:
        InputError: The folder contains no run, or the data are invalid.
        ResourceError: The disk is full.
        UnfinishedError: The run has no result.
    """
    check_torch()
    job, root = resume_job(folder, from_step=from_step, data=data, trust_code=trust_code)
    return run_job(job, root, should_stop, progress=progress)


def run_job(
    job: Job, root: Path, should_stop: Callable[[], bool], *, progress: bool = False
) -> RunRecord:
    """Train a run in this process and return its record. Ctrl-C ends it with a checkpoint.

    With `progress`, a bar or lines show its progress.

    Raises InputError if the run was refused, and UnfinishedError if it has no result.
    """
    run_folder = RunFolder.find(root, job.id)
    missing: RunEvent | None = None
    with StopSignal([signal.SIGINT]).installed() as interrupt:
        if run_folder.needs_work(job.file):
            missing = train_job(
                job,
                root,
                Placement(),
                lambda: interrupt.is_set() or should_stop(),
                progress=progress,
            )
    record = run_folder.record()
    if record is None or record.result is None:
        if interrupt.is_set():
            raise KeyboardInterrupt
        path = str(run_folder.path)
        stopped = RunEvent("missing", job.id, reason="it was stopped")
        raise missing_error(missing or stopped, path, resume_command(path))
    return record


def train_job(
    job: Job,
    root: Path,
    placement: Placement,
    should_stop: Callable[[], bool],
    *,
    progress: bool = True,
    tracker_copies: Sequence[TrackerCopy] = (),
) -> RunEvent | None:
    """Train a run in this process, show its progress, and copy it to trackers.

    Returns:
        The event of a run that could not be trained; None for one that has a result, or was
        stopped.
    """
    from resnetlab.studies.progress import run_display  # it imports rich

    missing: RunEvent | None = None
    with (
        run_display(job, root, quiet=not progress) as display,
        BackgroundCopies(tracker_copies, display.print_line) as copies,
    ):

        def on_event(event: RunEvent) -> None:
            nonlocal missing
            display.update(event)
            copies.update(event)
            missing = event if event.kind == "missing" else missing

        run_in_process(job, root, placement, should_stop, on_event)
    return missing
