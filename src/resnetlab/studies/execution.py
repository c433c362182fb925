"""Execution of a planned study: its plan on disk, its missing runs and their records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from resnetlab.errors import InputError, input_error
from resnetlab.files import is_locked, write_json
from resnetlab.models.configs.external import record_origin
from resnetlab.runs.paths import LOCK, locate_runs
from resnetlab.runs.records import RunRecord
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import encode
from resnetlab.studies.executors.base import Executor
from resnetlab.studies.executors.messages import Job, RunEvent
from resnetlab.studies.plan import (
    Plan,
    PlannedRun,
    StudyRecord,
    folder_name,
    load_plan,
    make_record,
)


def save_plan(plan: Plan, root: Path) -> None:
    """Write a plan as plan.json into the folder of its report."""
    write_json(root / "studies" / folder_name(plan) / "plan.json", encode(plan))


def read_plan(folder: Path) -> Plan:
    """Read the plan of a report's folder. Raises InputError if there is none."""
    path = folder / "plan.json"
    if not path.exists():
        raise input_error(str(folder), "no study was started there", "resnetlab study run STUDY")
    plan = load_plan(path)
    for run in plan.runs:
        record_origin(run.config.model, str(path))
    return plan


def read_record(plan: Plan, root: Path, past: Mapping[str, RunRecord] | None = None) -> StudyRecord:
    """Read the record of a study from the present state of its runs.

    `past` has finished runs under `root` that were already read, by the names of their folders.
    """
    known = past or {}
    folders = locate_runs(root, [run.id for run in plan.runs])
    running = frozenset(run_id for run_id, path in folders.items() if is_locked(path / LOCK))

    def read(run_id: str) -> RunRecord | None:
        return known.get(folders[run_id].name) or RunFolder(folders[run_id]).record()

    return make_record(plan, read, running)


def pending_runs(plan: Plan, root: Path) -> list[PlannedRun]:
    """Return the planned runs without a result or with a measurement still to be made."""
    folders = locate_runs(root, [run.id for run in plan.runs])
    return [run for run in plan.unique_runs if RunFolder(folders[run.id]).needs_work(run.file)]


def past_runs(root: Path) -> list[RunRecord]:
    """Return the finished runs of all studies under `root`."""
    records = []
    for path in sorted((root / "runs").glob("*/result.json")):
        with contextlib.suppress(InputError):  # a run of another schema cannot be read
            if (run_record := RunFolder(path.parent).record()) is not None:
                records.append(run_record)
    return records


def execute_runs(
    runs: Iterable[PlannedRun], executor: Executor, should_stop: Callable[[], bool]
) -> Iterator[RunEvent]:
    """Execute runs of a plan and yield their events."""
    yield from executor.run([Job(run.id, run.file) for run in runs], should_stop)
