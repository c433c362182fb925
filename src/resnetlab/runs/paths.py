"""Paths of runs: the folder of each run id, the names of files in it, and its checkpoints.

No file of a run is read, so that this is fast for thousands of runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from resnetlab.errors import input_error

_FOLDER_NAME = re.compile(r"(?!\.\.?$)[^/\\:\0]+")

LOCK = "lock"
"""Name of the lock file that the process of a run locks."""

WEIGHTS, LOGITS = "weights.safetensors", "logits-test.safetensors"
"""Names of the files with the evaluated weights, and with the outputs for the test images."""

BLOCK_ABLATION = "diagnostics/block-ablation.json"
GRADIENT_NORMS = "diagnostics/gradient-norms-{epoch}.json"
LANDSCAPE, TRAIN_MODE = "diagnostics/loss-landscape.json", "diagnostics/train-mode.json"
"""Names of the files with the loss landscapes, and with the evaluation in training mode."""


def locate_runs(root: Path, run_ids: Collection[str]) -> dict[str, Path]:
    """Return the folder of each run under `root` after one listing of all folders.

    A folder with the same hash and another slug is the same run. Raises InputError for an id that
    is a path.
    """
    runs = root / "runs"
    names = sorted(os.listdir(runs), reverse=True) if runs.is_dir() else []  # noqa: PTH208
    existing = set(names)
    by_hash = {_hash(name): name for name in names}  # of several, the first by name
    for run_id in run_ids:
        check_run_id(run_id)
    return {
        run_id: runs / (run_id if run_id in existing else by_hash.get(_hash(run_id), run_id))
        for run_id in run_ids
    }


def check_run_id(run_id: str) -> None:
    """Raise InputError unless `run_id` can name a folder in runs/ and no other."""
    if not _FOLDER_NAME.fullmatch(run_id):
        fix = "restore the file that names it, or start the study again"
        raise input_error("runs", "is not the id of a run", fix, got=run_id)


def check_finished(folder: Path) -> None:
    """Raise InputError unless `folder` belongs to a finished run with weights."""
    if not (folder / WEIGHTS).exists() and (folder / "result.json").exists():
        message = f"is finished, but has no {WEIGHTS}"
        fix = "export the run with its weights where it was trained, or train it again"
        raise input_error(str(folder), message, fix)
    if not (folder / WEIGHTS).exists():
        raise input_error(
            str(folder), "no finished run", "give the folder of a run that has weights.safetensors"
        )


def _hash(run_id: str) -> str:
    return run_id.rpartition("-")[2]


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints, in order.

    A checkpoint without MANIFEST.json is incomplete.
    """
    if not folder.is_dir():
        return []
    return sorted(
        int(p.name)
        for p in folder.iterdir()
        if p.name.isdecimal() and (p / "MANIFEST.json").exists()
    )
