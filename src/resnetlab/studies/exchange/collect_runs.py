"""Runs of other machines that join a study: `resnetlab study collect`.

A run is taken for what its files show: it is finished, its files have their checksums, its
configuration is that of a planned run (and with it the SHA-256 of the data), and the recorded
logits of the test images give the recorded accuracy.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from resnetlab.checksums import CHECKSUMS, check_file, read_checksums, renew_checksum
from resnetlab.errors import InputError
from resnetlab.files import atomic_write, remove_tree, sha256, write_json
from resnetlab.models.tensorfile import backbone_file, read_metadata
from resnetlab.runs.paths import LOGITS, WEIGHTS
from resnetlab.runs.recorded_logits import disagreement
from resnetlab.runs.records import Result, RunRecord
from resnetlab.runs.run_folder import CHECKED_FILES, LARGE_FILES, RunFolder
from resnetlab.studies.exchange.run_sources import RunSource, open_sources
from resnetlab.studies.exchange.shared_plan import describe_difference, find_plan
from resnetlab.studies.execution import read_record, save_plan
from resnetlab.studies.plan import PlannedRun, folder_name

CollectDecision = Literal[
    "joined",
    "weights added",
    "already here",
    "other result",
    "running here",
    "not of the study",
    "not finished",
    "damaged",
]
"""Decision about a run: it joined the study; it was here without its weights; it was here; it was
here with another result, which stays; a process trains it here now; or it cannot join."""


@dataclass(frozen=True)
class CollectedRun:
    """Run of another machine, and what became of it."""

    source: str
    """Folder or archive that holds the run, as it was given."""
    run: str
    """Name of the run's folder."""
    decision: CollectDecision
    reason: str = ""


@dataclass(frozen=True)
class Collection:
    """Result of `collect_runs`."""

    folder: Path
    """Folder of the study's plan and reports."""
    runs: tuple[CollectedRun, ...]
    notes: tuple[str, ...]
    """Sentences about plans of other machines."""
    planned: int
    """Number of runs of the plan."""
    finished: int
    """Number of finished runs of the plan."""

    @property
    def counts(self) -> dict[CollectDecision, int]:
        """Number of runs by decision, without zeros; their sum is the number of runs."""
        counted = Counter(run.decision for run in self.runs)
        return {name: counted[name] for name in get_args(CollectDecision) if counted[name]}

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for `--json`."""
        return {
            "folder": str(self.folder),
            "planned": self.planned,
            "finished": self.finished,
            "counts": self.counts,
            "notes": self.notes,
            "runs": [vars(run) for run in self.runs],
        }


UNCHECKED = f"it has no {CHECKSUMS}, so only its test accuracy and loss were checked"
"""Reason that is given with a run that joined without checksums."""


def collect_runs(sources: Sequence[Path], into: str, root: Path) -> Collection:
    """Copy the finished runs of `sources` that belong to a study into its folder of runs.

    Args:
        sources: Archives of `export_runs`, and folders: of a run, of runs, or with `runs`.
        into: Study that the runs join: a name, a TOML file, or the folder of its report.
        root: Folder that contains `runs` and `studies`. If the study was not started there, its
            plan is taken from a source.

    Returns:
        The runs that were added, refused or already present.

    Raises:
        InputError: A source has no runs, or the study has no plan here or in a source.
    """
    with open_sources(sources, root) as opened:
        plan, notes = find_plan(into, root, opened)
        save_plan(plan, root)
        planned = {run.config.hash: run for run in plan.unique_runs}
        runs = tuple(
            _collect_run(folder, source, planned, root)
            for source in opened
            for folder in source.runs
        )
    states = list(read_record(plan, root).states.values())
    return Collection(
        root / "studies" / folder_name(plan), runs, notes, len(states), states.count("finished")
    )


def _collect_run(
    folder: Path, source: RunSource, planned: Mapping[str, PlannedRun], root: Path
) -> CollectedRun:
    """Check one run, and copy it if it belongs to the study and is not here."""
    try:
        decision, reason = _check_and_copy(folder, planned, root)
    except InputError as error:
        decision, reason = "damaged", str(replace(error.problems[0], fix=""))
    reason = reason.replace(str(source.folder), source.name)
    return CollectedRun(source.name, folder.name, decision, reason)


def _check_and_copy(
    folder: Path, planned: Mapping[str, PlannedRun], root: Path
) -> tuple[CollectDecision, str]:
    """Return the decision on a run and the reason for it. Raises InputError for a damaged file."""
    record = RunFolder(folder).record()
    if record is None or record.result is None:
        return "not finished", "it has no result.json"
    run = planned.get(record.config.hash)
    if run is None:
        return "not of the study", describe_difference(record.config, planned.values())
    if reason := disagreement(folder, record.result) or _wrong_weights(folder, record.result):
        return "damaged", reason
    for name in LARGE_FILES:
        check_file(folder / name)
    target = RunFolder.find(root, run.id)
    if target.path.resolve() == folder.resolve():
        return "already here", ""
    decision = _compare_with_result_here(folder, record, target)
    if decision is not None and decision[0] != "weights added":
        return decision
    with target.lock() as acquired:
        if not acquired:
            return "running here", "another process trains it"
        # Without the lock, another process may have finished the run since it was read.
        decision = _compare_with_result_here(folder, record, target)
        if decision is None:
            _copy(folder, target)
            return "joined", "" if read_checksums(folder) else UNCHECKED
        if decision[0] == "weights added":
            _add_weights(folder, target)
        return decision


def _compare_with_result_here(
    folder: Path, record: RunRecord, target: RunFolder
) -> tuple[CollectDecision, str] | None:
    """Return the decision on a run that is finished here, or None if it is not.

    "weights added" if its weights are absent here and have to be copied from `folder`.
    """
    here = target.record() if (target.path / "result.json").exists() else None
    if here is None:
        return None
    if reason := _other_result(here, record):
        return "other result", reason
    if not _lacks_weights(target.path, here, folder, record):
        return "already here", ""
    return "weights added", ""


def _wrong_weights(folder: Path, result: Result) -> str:
    """Return the problem of weights that are not those of the result; "" without a problem."""
    weights = folder / WEIGHTS
    if not weights.exists() or not result.weights_sha256:
        return ""
    if sha256(weights) != result.weights_sha256:
        return f"{WEIGHTS} differs from its SHA-256 in result.json"
    digest = str(read_metadata(weights).get("backbone") or "")
    if digest and not backbone_file(weights, digest).is_file():
        return f"backbones/{digest}.safetensors, the frozen part of its network, is missing"
    return ""


def _other_result(here: RunRecord, other: RunRecord) -> str:
    """Return in what the results of one run on two machines differ; "" if they are equal."""
    assert here.result is not None
    assert other.result is not None
    if _comparable(here) == _comparable(other):
        return ""
    return (
        f"{_accuracy(here.result)} here ({_machine(here)}), {_accuracy(other.result)} there "
        f"({_machine(other)}); the run that is here stays"
    )


def _lacks_weights(here: Path, record: RunRecord, folder: Path, other: RunRecord) -> bool:
    """Return True if the weights of a run are absent here, and those of the folder fit its result.

    The same run under another name of the data has the same tensors in a file with another name
    inside, and so with another SHA-256.
    """
    assert record.result is not None
    assert other.result is not None
    if (here / WEIGHTS).exists() or not (folder / WEIGHTS).exists():
        return False
    return record.result.weights_sha256 == other.result.weights_sha256


def _comparable(record: RunRecord) -> object:
    """Return the values that a run computed, without its times and the SHA-256 of its weights file.

    That file names the data, which may be called otherwise on another machine.
    """
    assert record.result is not None
    others: dict[str, Any] = dict.fromkeys(
        ("train_seconds", "evaluation_seconds", "images_per_second"), 0.0
    )
    metrics = tuple(replace(evaluation, seconds=0.0) for evaluation in record.metrics)
    return replace(record.result, weights_sha256="", **others), metrics


def _accuracy(result: Result) -> str:
    if result.test is None:
        return result.status
    return f"test accuracy {result.test.top1_accuracy_pct:.2f} %"


def _machine(record: RunRecord) -> str:
    events = [event for event in record.provenance if event.get("processor")]
    if not events:
        return "machine unknown"
    names = (events[-1].get(name) for name in ("processor", "instruction_set"))
    return ", ".join(str(name) for name in names if name)


def _copy(folder: Path, target: RunFolder) -> None:
    """Copy the files of a finished run; result.json, which makes it finished, comes last.

    The caller has the lock. A run that was interrupted here is replaced by the finished one.
    """
    for stale in (target.checkpoints, target.path / "diagnostics"):
        if stale.exists():
            remove_tree(stale)
    names = [name for name in (*CHECKED_FILES, LOGITS) if name != "result.json"]
    names += sorted(f"diagnostics/{path.name}" for path in folder.glob("diagnostics/*.json"))
    for name in names:
        if (folder / name).is_file():
            _copy_file(folder / name, target.path / name)
    if hashes := read_checksums(folder):
        hashes.pop(WEIGHTS, None)  # weights that are absent are not missing
        write_json(target.path / CHECKSUMS, {"sha256": hashes})
    _add_weights(folder, target)
    _copy_file(folder / "result.json", target.path / "result.json")


def _add_weights(folder: Path, target: RunFolder) -> None:
    """Copy the weights of a run, if the folder has them, and the frozen part of its network."""
    weights = folder / WEIGHTS
    if not weights.exists():
        return
    backbone = str(read_metadata(weights).get("backbone") or "")
    if backbone and not backbone_file(target.path / WEIGHTS, backbone).exists():
        _copy_file(backbone_file(weights, backbone), backbone_file(target.path / WEIGHTS, backbone))
    _copy_file(weights, target.path / WEIGHTS)
    if (target.path / CHECKSUMS).exists():
        renew_checksum(target.path, WEIGHTS)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as content, atomic_write(target, "wb") as file:
        shutil.copyfileobj(content, file)
