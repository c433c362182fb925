"""One run without a study file: its plan, and its training in this process."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

from resnetlab.data.config import DataConfig
from resnetlab.errors import Problem, UnfinishedError, input_error
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.messages import Notify, silent
from resnetlab.models.configs import ModelConfig
from resnetlab.models.flops import model_cost
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.records import RunRecord
from resnetlab.schema import encode
from resnetlab.shell import resume_command
from resnetlab.studies.executors.base import Job, RunEvent
from resnetlab.studies.executors.here import run_in_process
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.plan import Plan, make_plan
from resnetlab.studies.run import check_licenses, load_data_facts
from resnetlab.training.resolve import resolve_numerics


def plan_run(
    model: str | ModelConfig,
    data: str | DataConfig,
    recipe: str | AnyRecipe,
    *,
    seed: int = 0,
    settings: Sequence[str] = (),
    diagnostics: DiagnosticsConfig | None = None,
    output: str | Path = ".",
    notify: Notify = silent,
    download: bool = True,
) -> Plan:
    """Return the plan of one run on all cores of this machine; `train` has the same arguments.

    Without `download`, the id of a run whose data are not on this machine is not final.
    """
    parts = {"model": model, "data": data, "recipe": recipe}
    tables = {name: part if isinstance(part, str) else encode(part) for name, part in parts.items()}
    tables |= {
        "name": "train",
        "question": "",
        "seeds": [seed],
        "diagnostics": encode(diagnostics or DiagnosticsConfig()),
    }
    study = parse_study(tables, "", Overrides(settings=tuple(settings)))
    check_licenses(study)
    return make_plan(
        study,
        load_data_facts(study, Path(output), notify, download=download),
        partial(resolve_numerics, single_run=True),
        model_cost,
    )


def resume_job(
    folder: str | Path, *, from_step: int | None = None, data: str | None = None
) -> tuple[Job, Path]:
    """Return the job that resumes the run in `folder`, and the output folder of the run.

    Raises InputError.
    """
    directory = RunDirectory(Path(folder))
    if not (directory.path / "run.json").exists():
        raise input_error(
            str(folder),
            "not a run's folder",
            "give a folder such as runs/digits-cifar-resnet56-s0-...",
        )
    file = directory.file()
    if data is not None:
        file = replace(file, data=replace(file.data, source=data))
    return Job(directory.path.name, file, from_step), directory.path.resolve().parent.parent


def run_job(job: Job, root: Path, should_stop: Callable[[], bool]) -> RunRecord:
    """Train a run in this process and return its record. Ctrl-C ends it with a checkpoint.

    Raises UnfinishedError if the run has no result.
    """
    reasons = ["it was stopped"]

    def note_reason(event: RunEvent) -> None:
        if event.kind == "missing":
            reasons.append(event.reason)

    directory = RunDirectory.find(root, job.id)
    with _interrupt_as_stop() as interrupted:
        if directory.needs_work(job.file):
            run_in_process(
                job, root, Placement(), lambda: interrupted() or should_stop(), note_reason
            )
    record = directory.record()
    if record is None or record.result is None:
        if interrupted():
            raise KeyboardInterrupt
        path = str(directory.path)
        raise UnfinishedError(Problem(path, reasons[-1], resume_command(path)))
    return record


@contextlib.contextmanager
def _interrupt_as_stop() -> Iterator[Callable[[], bool]]:
    """End training with a checkpoint at the first Ctrl-C, and at once at the second.

    Yields a function that returns True after the first one.
    """
    count = 0

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: count > 0
    finally:
        signal.signal(signal.SIGINT, previous)
