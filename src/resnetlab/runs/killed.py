"""Runs whose last process was killed: it recorded a start and no end. Free of torch."""

from __future__ import annotations

from pathlib import Path

from resnetlab.files import is_locked, read_jsonl
from resnetlab.runs.paths import LOCK

STOPPED = "stopped"
"""Event of provenance.jsonl: a process ended its session of a run before the end of the run."""

KILLED = (
    "was killed (signal 9, often for lack of memory), or the machine stopped: it left no result"
)


def was_killed(folder: Path) -> bool:
    """Return True if the run in the folder has no result and its last session recorded no end."""
    if (
        not (folder / "run.json").exists()
        or (folder / "result.json").exists()
        or is_locked(folder / LOCK)
    ):
        return False
    return has_open_session(folder)


def has_open_session(folder: Path) -> bool:
    """Return True if the last session of the run in the folder recorded no end."""
    names = [line.get("event") for line in read_jsonl(folder / "provenance.jsonl")]
    sessions = [n for n in names if n in ("start", "resume", STOPPED, "failed", "gave up")]
    return bool(sessions) and sessions[-1] in ("start", "resume")
