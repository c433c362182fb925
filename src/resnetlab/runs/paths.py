"""Map of run ids to run folders.

Reads no file of a run, so that it is fast for thousands of runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

LOCK = "lock"
"""Name of the lock file that the process of a run locks."""

WEIGHTS, LOGITS = "weights.safetensors", "logits-test.safetensors"
"""Names of the files with the evaluated weights, and with the outputs for the test images."""


def locate_runs(root: Path, run_ids: Iterable[str]) -> dict[str, Path]:
    """Return the folder of each run under `root` after one listing of all folders.

    A folder with the same hash and another slug is the same run.
    """
    runs = root / "runs"
    names = sorted(os.listdir(runs), reverse=True) if runs.is_dir() else []  # noqa: PTH208
    existing = set(names)
    by_hash = {_hash(name): name for name in names}  # of several, the first by name
    return {
        run_id: runs / (run_id if run_id in existing else by_hash.get(_hash(run_id), run_id))
        for run_id in run_ids
    }


def _hash(run_id: str) -> str:
    return run_id.rpartition("-")[2]
