"""Environment and progress of processes that the tests start."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def import_path() -> str:
    """Return the import path of this process as a value for `PYTHONPATH`, so that a child process
    finds `helpers`.
    """
    return os.pathsep.join(path for path in sys.path if path)


def environment(**variables: str) -> dict[str, str]:
    """Return the environment for a child process that computes in one thread and can import
    `helpers`.

    Args:
        **variables: More variables of the environment, by name.
    """
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": import_path()} | variables


def has_trained(root: Path, run: str = "*") -> bool:
    """Return True if a run of that pattern has an evaluation after its first step.

    Before that no checkpoint is written.
    """
    lines = [
        line
        for path in root.glob(f"runs/{run}/metrics.jsonl")
        for line in path.read_text().splitlines()
    ]
    return any(json.loads(line)["step"] > 0 for line in lines if line.endswith("}"))
