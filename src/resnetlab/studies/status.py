"""Status of studies, read from plain files without schemas, numpy or torch, so that it is fast.

A file that is not valid is parsed again with its schema, which raises an error that names the
mistake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.checksums import check_named_files
from resnetlab.errors import input_error
from resnetlab.files import is_locked, read_json, read_jsonl
from resnetlab.runs.killed import was_killed
from resnetlab.runs.paths import LOCK, TRAIN_MODE, WEIGHTS, locate_runs
from resnetlab.stats.outcomes import OUTCOMES
from resnetlab.studies.status_index import INVALID_TABLE_ERRORS, StatusIndex

OUTCOMES_AND_INTERRUPTED = (*OUTCOMES, "interrupted")
"""Statuses of planned runs: the outcomes, and `interrupted` for a run that is not running and has a
checkpoint. No file contains the last one.
"""


@dataclass(frozen=True)
class StudyStatus:
    """Status of a study: numbers of its runs by outcome."""

    counts: Mapping[str, Counter[str]]
    """Number of planned runs of each condition by status, one of `OUTCOMES_AND_INTERRUPTED`."""
    finished: int
    planned: int
    command: str
    """Command that continues the study."""
    killed: int = 0
    """Number of runs without a result whose last process recorded no end."""
    shared: int = 0
    """Number of runs that a second condition evaluates in another mode. They count once."""


def study_status(folder: Path, root: Path) -> StudyStatus:
    """Return the status of the study with the report folder `folder` and runs under `root`.

    Raises InputError if there is no such study or one of its files is not valid.
    """
    path = folder / "plan.json"
    if not path.exists():
        raise input_error(str(folder), "no study was started there", "resnetlab study run STUDY")
    index = StatusIndex(folder, root)
    plan = index.plan()
    try:
        return count_runs(plan, root, index)
    except INVALID_TABLE_ERRORS:
        _raise_parse_error(path, root)
        raise


def count_runs(
    plan: Mapping[str, Any], root: Path, index: StatusIndex | None = None
) -> StudyStatus:
    """Return the status of the runs under `root` of a plan, given as its tables.

    Finished runs in `index` are not read again. A table that is not valid raises one of
    `INVALID_TABLE_ERRORS`.
    """
    folders = locate_runs(root, [run["id"] for run in plan["runs"]])
    conditions = {str(condition["label"]): condition for condition in plan["study"]["conditions"]}
    counts = {label: Counter[str]() for label in conditions}
    finished: dict[str, bool] = {}  # by run, because several conditions may share one
    for run in plan["runs"]:
        folder, run_id = folders[run["id"]], run["id"]
        outcome, is_result = _indexed_outcome(folder, index)
        if is_result and conditions[run["condition"]].get("evaluation_mode") == "train":
            outcome, is_result = _train_mode_outcome(folder, outcome)
        counts[run["condition"]][outcome] += 1
        finished[run_id] = finished.get(run_id, True) and is_result
    if index is not None:
        index.save(folders.values())
    shared = len(plan["runs"]) - len(finished)
    return StudyStatus(
        counts,
        sum(finished.values()),
        len(finished),
        str(plan.get("resume_command") or plan.get("command", "")),
        sum(was_killed(folders[run_id]) for run_id, is_done in finished.items() if not is_done),
        shared,
    )


def to_dict(status: StudyStatus, folder: Path) -> dict[str, Any]:
    """Return the status as plain values, for `--json`."""
    conditions = []
    for label, counts in status.counts.items():
        by_outcome = {
            outcome.replace(" ", "_"): counts[outcome] for outcome in OUTCOMES_AND_INTERRUPTED
        }
        conditions.append({"condition": label, "planned": counts.total(), **by_outcome})
    return {
        "folder": str(folder),
        "planned": status.planned,
        "finished": status.finished,
        "killed": status.killed,
        "shared": status.shared,
        "conditions": conditions,
        "command": status.command,
    }


def _raise_parse_error(path: Path, root: Path) -> None:
    """Raise InputError for the first mistake in a plan or in the results of its runs."""
    from resnetlab.runs.run_folder import RunFolder
    from resnetlab.studies.plan import load_plan

    for run in load_plan(path).runs:
        run_folder = RunFolder.find(root, run.id)
        run_folder.result()
        run_folder.measurements.read_train_mode_evaluation()


def _indexed_outcome(folder: Path, index: StatusIndex | None) -> tuple[str, bool]:
    """Return the status of the run in a folder, from `index` if it is there, and whether it has a
    result.
    """
    if index is None:
        return _outcome(folder)
    if (outcome := index.outcome(folder)) is not None:
        return outcome, True
    before = index.signature(folder)
    outcome, is_result = _outcome(folder)
    if is_result:
        index.add(folder, outcome, before)
    return outcome, is_result


def _outcome(folder: Path) -> tuple[str, bool]:
    """Return the status of the run in a folder, and whether it has a result."""
    if not (folder / "run.json").exists():
        return ("running" if is_locked(folder / LOCK) else "waiting"), False
    if (folder / "result.json").exists():
        status = _check_status(read_json(folder / "result.json")["status"])
        check_named_files(folder, ("run.json", "result.json"))
        return status, True
    if is_locked(folder / LOCK):
        return "running", False
    events = read_jsonl(folder / "provenance.jsonl")
    if events and events[-1].get("event") == "gave up":
        return "missing", False
    has_checkpoint = any((folder / "checkpoints").glob("*/MANIFEST.json"))
    return ("interrupted" if has_checkpoint else "waiting"), False


def _train_mode_outcome(folder: Path, outcome: str) -> tuple[str, bool]:
    """Return the status of a finished run in training mode, and whether it has a result there.

    A run with weights may still have to be evaluated.
    """
    if not (folder / WEIGHTS).exists():
        return outcome, True
    status = read_json(folder / TRAIN_MODE)["status"] if (folder / TRAIN_MODE).exists() else None
    if status is not None:
        return _check_status(status), True
    return "running" if is_locked(folder / LOCK) else "waiting", False


def _check_status(status: object) -> str:
    if status not in OUTCOMES:
        raise KeyError(status)
    return status
