"""Detection of damaged files in a run's folder, with the command that repairs each.

Free of torch.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnetlab.checksums import (
    CHECKSUMS,
    RESTORE,
    changed_files,
    is_unchanged,
    read_checksums,
    renew_checksum,
)
from resnetlab.errors import InputError, input_error
from resnetlab.files import (
    MAX_GENERATED_BYTES,
    atomic_write,
    is_locked,
    read_json,
    sha256,
)
from resnetlab.inspection.diagnostics_records import BlockAblations, GradientNorms, LossLandscape
from resnetlab.models.tensorfile import backbone_file, read_metadata
from resnetlab.runs.checkpoint_manifest import read_manifest
from resnetlab.runs.killed import KILLED, was_killed
from resnetlab.runs.paths import (
    BLOCK_ABLATION,
    GRADIENT_NORMS,
    LANDSCAPE,
    LOCK,
    LOGITS,
    TRAIN_MODE,
    WEIGHTS,
)
from resnetlab.runs.records import Result, TrainModeEvaluation
from resnetlab.runs.run_folder import LARGE_FILES, RunFolder
from resnetlab.schema import decode
from resnetlab.shell import command_line

DamageKind = Literal["unreadable", "incomplete line", "missing", "corrupt", "leftover"]

_RUN_FILES = {"metrics.jsonl", "provenance.jsonl", "result.json", "checkpoints", WEIGHTS, LOGITS}
"""Names that only the folder of a run has."""

_TEMPORARY_FILE = re.compile(r"\..+\.[0-9a-f]{16}\.part")
"""Name of the temporary file of an interrupted write: `.result.json.0123456789abcdef.part`."""

JSONL_FILES = ("metrics.jsonl", "provenance.jsonl")


@dataclass(frozen=True)
class Damage:
    """Damaged file: its path, the kind of damage, a description and the fix."""

    path: str
    kind: DamageKind
    message: str
    fix: str
    """Command that repairs the file."""


@dataclass(frozen=True)
class RunCheck:
    """Result of the check of a run's folder."""

    folder: str
    state: Literal["finished", "unfinished", "running", "empty", "report"]
    """State of the run.

    `running`: a process has the run's lock now, so its files may still change. `report`: not a run,
    but the folder of a report with checksums.
    """
    damage: tuple[Damage, ...]
    resume_command: str = ""
    """Command that resumes an unfinished run."""
    note: str = ""
    """Remark that is no damage."""


def check_run(folder: Path) -> RunCheck:
    """Check every file of a run's folder and change none.

    Raises InputError if the folder does not exist.
    """
    if not folder.is_dir():
        raise input_error(
            str(folder),
            "no such folder",
            "give a run's folder, such as runs/digits-cifar-resnet56-s0-...",
        )
    if is_locked(folder / LOCK):
        return RunCheck(str(folder), "running", ())
    if _is_report(folder):
        return RunCheck(str(folder), "report", tuple(_changed(folder)))
    run_folder = RunFolder(folder)
    damage = [*_leftovers(folder), *_incomplete_lines(folder), *_diagnostics(folder)]
    if not (folder / "run.json").exists():
        others = [
            path.name
            for path in folder.iterdir()
            if path.name != LOCK and not _TEMPORARY_FILE.fullmatch(path.name)
        ]
        if others:
            message = "missing, so nothing says which run this is"
            fix = _remove_and_repeat(folder)
            if not _RUN_FILES & set(others):
                message = "missing: the folder is neither a run nor a report"
                fix = "give the folder of a run or of a report"
            damage.insert(0, Damage(str(folder / "run.json"), "missing", message, fix))
        return RunCheck(str(folder), "empty", tuple(damage))
    try:
        run_folder.file()
    except InputError as error:
        fix = _remove_and_repeat(folder)
        damage.insert(
            0, Damage(str(folder / "run.json"), "unreadable", error.problems[0].message, fix)
        )
        return RunCheck(str(folder), "unfinished", tuple(damage))
    if not (folder / "result.json").exists():
        damage += _checkpoints(run_folder)
        note = f"its last process {KILLED}" if was_killed(folder) else ""
        command = _command("resume", folder)
        return RunCheck(str(folder), "unfinished", tuple(damage), command, note)
    try:
        result = run_folder.result()
    except InputError as error:
        fix = _repeat_command(folder)
        damage.append(
            Damage(str(folder / "result.json"), "unreadable", error.problems[0].message, fix)
        )
        return RunCheck(str(folder), "finished", tuple(damage))
    if result is not None:
        damage += _tensors(folder, result)
    known = {item.path for item in damage}
    damage += [item for item in _changed(folder) if item.path not in known]
    note = "" if (folder / CHECKSUMS).exists() else f"no {CHECKSUMS}: no change is noticed"
    return RunCheck(str(folder), "finished", tuple(damage), note=note)


def _is_report(folder: Path) -> bool:
    """Return True for a folder with checksums that are not of a run."""
    try:
        return (folder / CHECKSUMS).is_file() and "run.json" not in read_checksums(folder)
    except InputError:  # reported as damage of the list itself
        return False


def repair(folder: Path) -> list[str]:
    """Remove temporary files and incomplete lines of a run that is not running, and return the
    repaired paths.

    No data is lost, because no reader uses temporary files and incomplete lines.
    """
    checked = check_run(folder)
    repaired = []
    for damage in checked.damage:
        path = Path(damage.path)
        if damage.kind == "leftover":
            path.unlink(missing_ok=True)
            repaired.append(damage.path)
        elif damage.kind == "incomplete line":
            complete = [line for line in path.read_bytes().splitlines() if _is_record(line)]
            renew = (folder / CHECKSUMS).exists() and not _differs(folder, path.name)
            with atomic_write(path, "wb") as file:
                file.write(b"".join(line + b"\n" for line in complete))
            if renew:
                renew_checksum(folder, path.name)
            repaired.append(damage.path)
    return repaired


def _command(*words: object) -> str:
    return command_line(["resnetlab", *map(str, words)])


def _repair_command(folder: Path) -> str:
    return _command("doctor", folder, "--repair")


def _remove_and_repeat(folder: Path) -> str:
    return (
        f"remove the folder {command_line([str(folder)])}, then give the command that made it again"
    )


def _repeat_command(folder: Path, *damaged: Path) -> str:
    """Return the commands that repeat a run after its damaged files are removed.

    Without its result a finished run is unfinished, without a checkpoint.
    """
    result = folder / "result.json"
    removed = [str(path) for path in (*damaged, result) if path != result or path.exists()]
    repeat = _command("resume", folder, "--from-step", 0)
    return f"remove {command_line(removed)}, then: {repeat}" if removed else repeat


def _leftovers(folder: Path) -> Iterator[Damage]:
    for path in sorted(folder.rglob("*.part")):
        if _TEMPORARY_FILE.fullmatch(path.name):
            message = (
                f"a temporary file of {path.stat().st_size:,} bytes, left by a write that was cut "
                "short"
            )
            yield Damage(str(path), "leftover", message, _repair_command(folder))


def _incomplete_lines(folder: Path) -> Iterator[Damage]:
    for name in JSONL_FILES:
        path = folder / name
        lines = path.read_bytes().splitlines() if path.exists() else []
        incomplete = [number for number, line in enumerate(lines, 1) if not _is_record(line)]
        if incomplete:
            message = (
                f"line {', '.join(map(str, incomplete[:5]))} of {len(lines)} is not a JSON record "
                "and is not read"
            )
            yield Damage(str(path), "incomplete line", message, _repair_command(folder))


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _diagnostics(folder: Path) -> Iterator[Damage]:
    forms = (
        (GRADIENT_NORMS.format(epoch="*"), GradientNorms, True),
        (BLOCK_ABLATION, BlockAblations, False),
        (LANDSCAPE, LossLandscape, False),
        (TRAIN_MODE, TrainModeEvaluation, True),
    )
    for pattern, reader, is_from_training in forms:
        for path in sorted(folder.glob(pattern)):
            try:
                decode(reader, read_json(path, MAX_GENERATED_BYTES), str(path))
            except InputError as error:
                again = "study run measures it again where a study needs it"
                remove = f"remove {command_line([str(path)])}; {again}"
                fix = _repeat_command(folder, path) if is_from_training else remove
                yield Damage(str(path), "unreadable", error.problems[0].message, fix)


def _tensors(folder: Path, result: Result) -> Iterator[Damage]:
    """Yield the damage of the weights and the logits of a finished run."""
    weights, logits = folder / WEIGHTS, folder / LOGITS
    if result.weights_sha256 and not _is_without_weights(folder):
        if not weights.exists():
            yield Damage(
                str(weights),
                "missing",
                "missing, although the run has a result",
                _repeat_command(folder),
            )
        elif sha256(weights) != result.weights_sha256:
            yield Damage(
                str(weights),
                "corrupt",
                "differs from its SHA-256 in result.json",
                _repeat_command(folder),
            )
        else:
            yield from _backbone(weights, folder)
    if logits.exists():
        if _differs(folder, LOGITS):
            message = f"differs from its SHA-256 in {CHECKSUMS}"
            yield Damage(str(logits), "corrupt", message, _repeat_command(folder))
        elif problem := safetensors_problem(logits):
            yield Damage(str(logits), "corrupt", problem, _repeat_command(folder))
    elif result.weights_sha256 and result.test is not None:
        yield Damage(
            str(logits), "missing", "missing, although the run was tested", _repeat_command(folder)
        )


def _backbone(weights: Path, folder: Path) -> Iterator[Damage]:
    """Yield the damage of the file with the frozen part of a run's network."""
    try:
        digest = read_metadata(weights).get("backbone")
    except InputError:  # not a safetensors file; its SHA-256 is as written all the same
        return
    if not digest:
        return
    path = backbone_file(weights, str(digest))
    if not path.is_file():
        message = "missing, although a run has the rest of its network"
        yield Damage(str(path), "missing", message, _repeat_command(folder))
    elif problem := safetensors_problem(path):
        fix = f"remove {command_line([str(path)])} too: {_repeat_command(folder)}"
        yield Damage(str(path), "corrupt", problem, fix)


def _is_without_weights(folder: Path) -> bool:
    """Return True if the run came from another machine without its weights."""
    if (folder / WEIGHTS).exists():
        return False
    try:
        listed = read_checksums(folder)
    except InputError:  # reported as damage of the list itself
        return False
    return bool(listed) and WEIGHTS not in listed


def _differs(folder: Path, name: str) -> bool:
    try:
        return name in read_checksums(folder) and not is_unchanged(folder, name)
    except InputError:  # reported as damage of the list itself
        return False


def _changed(folder: Path) -> Iterator[Damage]:
    """Yield the files of a finished run that differ from their checksums."""
    try:
        for path, message in changed_files(folder, LARGE_FILES):
            yield Damage(str(path), "corrupt", message, RESTORE)
    except InputError as error:
        yield Damage(str(folder / CHECKSUMS), "unreadable", error.problems[0].message, RESTORE)


def _checkpoints(run_folder: RunFolder) -> Iterator[Damage]:
    """Yield the damage of the checkpoints of an unfinished run."""
    folder = run_folder.checkpoints
    steps = (
        sorted((int(p.name) for p in folder.iterdir() if p.name.isdecimal()), reverse=True)
        if folder.is_dir()
        else []
    )
    problems = {step: _checkpoint_problem(folder / str(step)) for step in steps}
    complete = [step for step, problem in problems.items() if not problem]
    for step, problem in problems.items():
        if problem:
            earlier = max((other for other in complete if other < step), default=0)
            cut_short = not (folder / str(step) / "MANIFEST.json").exists()
            fix = _command(
                "resume", run_folder.path, *(() if cut_short else ("--from-step", earlier))
            )
            yield Damage(str(folder / str(step)), "corrupt", problem, fix)


def _checkpoint_problem(folder: Path) -> str:
    """Return the problem of a checkpoint, or an empty string if every file matches its SHA-256."""
    if not (folder / "MANIFEST.json").exists():
        return "without a MANIFEST.json: its write was cut short, and nothing reads it"
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        return f"MANIFEST.json: {error.problems[0].message}"
    for name, digest in manifest.files.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if not digest.fits(folder / name):
            return f"{name} differs from its SHA-256 in MANIFEST.json"
    return ""


def safetensors_problem(path: Path) -> str:
    """Return the problem of a safetensors file, or "" if its header matches its size."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                return "not a complete safetensors file: its header is longer than the file"
            header = json.loads(file.read(length))
        ends = [
            entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"
        ]
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError):
        return "not a safetensors file"
    expected = 8 + length + max(ends, default=0)
    return (
        ""
        if size == expected
        else f"not a complete safetensors file: {size:,} bytes of {expected:,}"
    )
