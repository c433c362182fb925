"""How far a study is, and where it was begun, from plain files. Light: no forms, no numpy, no torch.

What is not as it must be is left to the careful reader, which says what is wrong with it.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from resnetlab.errors import mistake
from resnetlab.files import MAX_OWN_BYTES, is_locked, read_json, read_lines
from resnetlab.runs.places import LOCK, located
from resnetlab.shell import is_path
from resnetlab.stats.outcome import OUTCOMES

UNLIKE = (KeyError, TypeError, AttributeError)
"""What plain tables raise that are not what was written."""


@dataclass(frozen=True)
class Standing:
    """A study's runs, counted."""

    counts: Mapping[str, Counter[str]]
    """By condition, how many of its planned runs stand where: their status, or missing, running, waiting."""
    finished: int
    planned: int
    command: str
    """What a person types to go on."""


def standing(folder: Path, root: Path) -> Standing:
    """How far the study is whose report's folder is `folder`, its runs under `root`. Raises InputError."""
    path = folder / "plan.json"
    if not path.exists():
        raise mistake(str(folder), "no study was begun there", "resnetlab study run STUDY")
    plan = read_json(path, MAX_OWN_BYTES)
    try:
        at = located(root, [run["id"] for run in plan["runs"]])
        counts = {str(condition["label"]): Counter[str]() for condition in plan["study"]["conditions"]}
        finished = 0
        for run in plan["runs"]:
            outcome, is_result = _outcome(at[run["id"]])
            counts[run["condition"]][outcome] += 1
            finished += is_result
        return Standing(counts, finished, len(plan["runs"]), str(plan.get("command", "")))
    except UNLIKE:
        _read_with_care(plan, path, root)
        raise


def facts(standing: Standing, folder: Path) -> dict[str, Any]:
    """The same as plain values, for `--json`."""
    conditions = []
    for label, counts in standing.counts.items():
        by_outcome = {outcome.replace(" ", "_"): counts[outcome] for outcome in OUTCOMES}
        conditions.append({"condition": label, "planned": counts.total(), **by_outcome})
    return {
        "folder": str(folder), "planned": standing.planned, "finished": standing.finished, "conditions": conditions,
        "command": standing.command,
    }  # fmt: skip


def _read_with_care(table: object, path: Path, root: Path) -> None:
    """Raise InputError for what is wrong with a plan or a result of its runs."""
    from resnetlab.codec import decode
    from resnetlab.runs.directory import RunDirectory
    from resnetlab.studies.plan import Plan

    plan: Plan = decode(Plan, table, str(path))
    for run in plan.runs:
        RunDirectory.of(root, run.id).result()


def _outcome(run: Path) -> tuple[str, bool]:
    """Where the run in that folder stands, and whether it has a result."""
    if not (run / "run.json").exists():
        return ("running" if is_locked(run / LOCK) else "waiting"), False
    if (run / "result.json").exists():
        return _known(read_json(run / "result.json")["status"]), True
    if is_locked(run / LOCK):
        return "running", False
    events = read_lines(run / "provenance.jsonl")
    return ("missing" if events and events[-1].get("event") == "gave up" else "waiting"), False


def _known(status: object) -> str:
    if status not in OUTCOMES:
        raise KeyError(status)
    return status


@dataclass(frozen=True)
class Begun:
    """Where a study was begun."""

    planned: Path | None = None
    """The folder of its report as its file has it; None where it has no plan, or the file is newer than that."""
    reported: bool = False
    """Whether it was begun as its file has it, or as that was."""
    changed: tuple[Path, ...] = ()
    """The folders of reports of the study as commands changed it."""


def begun(source: str, root: Path) -> Begun:
    """Where the study of that catalog name or TOML file was begun under `root`."""
    in_catalog = Path(str(resources.files("resnetlab.catalog"))) / "studies" / f"{Path(source).name}.toml"
    path = in_catalog if not is_path(source) and in_catalog.exists() else Path(source)
    try:
        name, at = str(tomllib.loads(path.read_text(encoding="utf-8-sig"))["name"]), path.stat().st_mtime_ns
    except (OSError, ValueError, KeyError):
        return Begun()
    plain = root / "studies" / name
    current = (plain / "plan.json").exists() and (plain / "plan.json").stat().st_mtime_ns > at
    folders = sorted((root / "studies").glob(f"{name}-" + "[0-9a-f]" * 6))
    changed = tuple(folder for folder in folders if _is_reported(folder) and _name_of(folder) == name)
    return Begun(plain if current else None, _is_reported(plain), changed)


def _is_reported(folder: Path) -> bool:
    return (folder / "plan.json").exists() and (folder / "report.json").exists()


def _name_of(folder: Path) -> str:
    try:
        return str(read_json(folder / "plan.json", MAX_OWN_BYTES)["study"]["name"])
    except UNLIKE:
        return ""
