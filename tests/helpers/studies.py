"""Studies in separate processes, with their workers and their files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from helpers.outcomes import outcome

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
LONGER = ("--set", "recipe.epochs=40")


def start(study: Path, root: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "resnetlab",
        "study",
        "run",
        str(study),
        "--output",
        str(root),
        *more,
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def finish(study: Path, root: Path, *more: str) -> str:
    process = start(study, root, *more)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out + err


def outcomes(root: Path) -> dict[str, Any]:
    """Read the outcome of every run, by the name of its folder."""
    return {run.name: outcome(run) for run in sorted((root / "runs").iterdir())}


def workers_of(root: Path) -> list[int]:
    """Return the worker processes that belong to the study under `root`: their log is their
    standard error.
    """
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                target = (entry / "fd" / "2").readlink()
            except OSError:
                continue
            if str(root.resolve()) in str(target) and target.name.startswith("worker-"):
                pids.append(int(entry.name))
    return pids


def wait_for(condition: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def events_of(provenance: Path) -> list[str]:
    return [json.loads(line)["event"] for line in provenance.read_text().splitlines()]


def finished(root: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("runs/*/result.json")}
