"""Runs in Weights & Biases: a group for each study, offline in `wandb` under the output folder.

`wandb sync` uploads them; the environment variable WANDB_MODE=online uploads at once.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnetlab.runs.records import Evaluation, Result
from resnetlab.shell import command_line
from resnetlab.tracking.base import TrackedRun, final_values, report_files, values_of

PROJECT = "resnetlab"


class WandbTracker:
    """Runs of the project `resnetlab`."""

    def __init__(self, root: Path) -> None:
        """Write nothing yet."""
        import wandb

        self._wandb: Any = wandb
        root.mkdir(parents=True, exist_ok=True)
        self._settings: dict[str, Any] = {
            "project": PROJECT,
            "dir": str(root.resolve()),
            "mode": os.environ.get("WANDB_MODE", "offline"),
            "reinit": "create_new",
            "resume": "allow",
            # wandb neither prints nor takes over the output of this program.
            "settings": wandb.Settings(silent=True, console="off"),
        }
        self.command = f"wandb sync {command_line([str(root / 'wandb')])}/offline-run-*"
        self._runs: dict[str, Any] = {}

    def open_run(self, run: TrackedRun, handle: str) -> str:
        """Begin or continue a run; the handle is its id."""
        handle = handle or secrets.token_hex(4)
        self._runs[handle] = self._wandb.init(
            id=handle,
            name=run.title,
            group=run.study,
            tags=[run.condition[:64]],
            config=run.config(),
            **self._settings,
        )
        return handle

    def log(self, handle: str, evaluations: Sequence[Evaluation]) -> None:
        """Add values by step; those of one step in one call, as wandb asks for."""
        values: dict[int, dict[str, float]] = {}
        for evaluation in evaluations:
            values.setdefault(evaluation.step, {}).update(values_of(evaluation))
        for step, by_name in sorted(values.items()):
            self._runs[handle].log(by_name, step=step)

    def close_run(self, handle: str, result: Result, files: Sequence[Path]) -> None:
        """Add the final values and the files as an artifact, and end the run."""
        run = self._runs.pop(handle)
        run.summary.update({**final_values(result), "status": result.status})
        self._log_files(run, f"run-{handle}", "run", files)
        run.finish(exit_code=0 if result.status not in ("diverged", "out of memory") else 1)

    def log_report(self, study: str, folder: Path) -> None:
        """Add the files of the report to a run named `report`; a later call continues this run."""
        text = f"{self._settings['dir']}\n{study}"
        run_id = hashlib.sha256(text.encode()).hexdigest()[:16]
        run = self._wandb.init(
            id=run_id, name="report", group=study, job_type="report", **self._settings
        )
        self._log_files(run, f"report-{study}", "report", report_files(folder))
        run.finish()

    def close(self) -> None:
        """End the runs that are still open."""
        for run in self._runs.values():
            run.finish()
        self._runs.clear()

    def _log_files(self, run: Any, name: str, kind: str, files: Sequence[Path]) -> None:
        artifact = self._wandb.Artifact(name, type=kind)
        for file in files:
            artifact.add_file(str(file))
        run.log_artifact(artifact)


def create_tracker(root: Path) -> WandbTracker:
    """Return the tracker."""
    return WandbTracker(root)
