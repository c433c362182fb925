"""Index of plans and finished runs, so that `study status` reads each of them once.

The index is a cache, `cache/status/` under the output folder, with a file for each study. An entry
counts only while the files that it was read from have the same inode, size and times. A run that is
not finished is never in the index. An index that is missing or damaged is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resnetlab.checksums import CHECKSUMS
from resnetlab.errors import InputError, ResourceError
from resnetlab.files import MAX_GENERATED_BYTES, read_json, read_text, short_hash, write_text

VERSION = 1
"""Version of the index. It changes with the rules by which a status follows from files."""

RUN_FILES = ("run.json", "result.json", CHECKSUMS)
"""Files from which the status of a finished run follows."""

MIN_AGE_NS = 2_000_000_000
"""Age in nanoseconds from which a file is indexed. A younger file might change again without new
times, because the clock of a file system has steps."""

INVALID_TABLE_ERRORS = (KeyError, TypeError, AttributeError)
"""Errors that an invalid table raises when it is read without its schema."""


class StatusIndex:
    """Index of the study with the report folder `folder` and runs under `root`."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        name = f"{folder.name}-{short_hash(str(folder.resolve()))}"
        self.path = root / "cache" / "status" / f"{name}.json"
        self._table = _read_index(self.path)
        self._runs: dict[str, list[str]] = self._table.get("runs", {})
        self._is_changed = False

    def plan(self) -> Any:
        """Return the fields of plan.json that the status needs, in the tables of plan.json.

        A plan without the expected tables is returned as it is. Raises InputError if the file is
        absent or not JSON.
        """
        path = self.folder / "plan.json"
        before = _signature(path.parent, (path.name,))
        if before and self._table.get("plan_signature") == before:
            return self._table["plan"]
        plan = read_json(path, MAX_GENERATED_BYTES)
        try:
            short = _short_plan(plan)
        except (KeyError, TypeError, AttributeError):
            return plan
        if before and before == _signature(path.parent, (path.name,)):
            self._table |= {"plan": short, "plan_signature": before}
            self._is_changed = True
        return short

    def outcome(self, folder: Path) -> str | None:
        """Return the outcome of a finished run whose files did not change since, or None."""
        entry = self._runs.get(folder.name)
        if entry is None:
            return None
        if entry[1] == _signature(folder, RUN_FILES):
            return entry[0]
        del self._runs[folder.name]
        self._is_changed = True
        return None

    def signature(self, folder: Path) -> str:
        """Return the signature of a run's files, to be taken before they are read."""
        return _signature(folder, RUN_FILES)

    def add(self, folder: Path, outcome: str, before: str) -> None:
        """Add a finished run, unless its files changed since the signature `before` was taken."""
        if before and before == _signature(folder, RUN_FILES):
            self._runs[folder.name] = [outcome, before]
            self._is_changed = True

    def save(self, runs: Iterable[Path]) -> None:
        """Write the index if it changed, with the entries of `runs` alone.

        A folder that cannot be written to has no index.
        """
        names = {run.name for run in runs}
        entries = {name: entry for name, entry in self._runs.items() if name in names}
        if not self._is_changed and len(entries) == len(self._runs):
            return
        text = json.dumps(self._table | {"version": VERSION, "runs": entries})
        digest = hashlib.sha256(text.encode()).hexdigest()
        with contextlib.suppress(OSError, ResourceError):
            write_text(self.path, f"{digest}\n{text}\n")


def _read_index(path: Path) -> dict[str, Any]:
    """Return the tables of an index; none if it is missing, damaged or of another version."""
    if not path.is_file():
        return {}
    try:
        digest, _, text = read_text(path, MAX_GENERATED_BYTES).rstrip("\n").partition("\n")
    except InputError:
        return {}
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        return {}
    table: dict[str, Any] = json.loads(text)
    return table if table.get("version") == VERSION else {}


def _short_plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan with the fields that the status needs alone."""
    study = plan["study"]
    conditions = [
        {name: condition[name] for name in ("label", "evaluation_mode") if name in condition}
        for condition in study["conditions"]
    ]
    return {
        "study": {"name": study["name"], "conditions": conditions},
        "runs": [{"id": run["id"], "condition": run["condition"]} for run in plan["runs"]],
        **{
            name: plan[name]
            for name in ("command", "resume_command", "source_sha256")
            if name in plan
        },
    }


def _signature(folder: Path, names: Iterable[str]) -> str:
    """Return inode, size and times of files; empty if one of them is too young to be indexed.

    A change of the content through the file system changes the times, also if it sets the time of
    modification back.
    """
    parts, newest, prefix = [], 0, os.fspath(folder)
    for name in names:
        try:
            stat = os.stat(f"{prefix}{os.sep}{name}")  # noqa: PTH116  # pathlib takes twice as long
        except OSError:
            parts.append("-")
            continue
        newest = max(newest, stat.st_mtime_ns, stat.st_ctime_ns)
        parts.append(f"{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}")
    return "" if newest > time.time_ns() - MIN_AGE_NS else " ".join(parts)
