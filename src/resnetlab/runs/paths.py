"""Which folder holds which run. Light: it reads no form, so that a look at a thousand costs nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

LOCK = "lock"
"""Of a run's folder: held by the process that works on the run."""


def located(root: Path, run_ids: Iterable[str]) -> dict[str, Path]:
    """The folder of each run under `root`, by one look at all that is there.

    A run is its hash: one that has another slug there is the same run.
    """
    runs = root / "runs"
    names = sorted(os.listdir(runs), reverse=True) if runs.is_dir() else []  # noqa: PTH208 (names are all that is needed)
    known = set(names)
    by_hash = {_hash(name): name for name in names}  # of several, the first by name
    return {run_id: runs / (run_id if run_id in known else by_hash.get(_hash(run_id), run_id)) for run_id in run_ids}


def _hash(run_id: str) -> str:
    return run_id.rpartition("-")[2]
