"""Runs in trackio: a project for each study, in `trackio` under the output folder.

The environment variable TRACKIO_DIR names another folder.
"""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from resnetlab.runs.records import Evaluation, Result
from resnetlab.tracking.base import TrackedRun, final_values, report_files, values_of


class TrackioTracker:
    """Runs that `trackio show` shows."""

    def __init__(self, root: Path) -> None:
        """Choose the folder before trackio is imported, which reads it then."""
        os.environ.setdefault("TRACKIO_DIR", str((root / "trackio").resolve()))
        import trackio

        self._trackio: Any = trackio
        folder = shlex.quote(os.environ["TRACKIO_DIR"])
        self.command = f"TRACKIO_DIR={folder} trackio show"
        self._runs: dict[str, Any] = {}

    def _init(self, **options: Any) -> Any:
        """Begin or continue a run. trackio prints notes on standard output, where results go."""
        with redirect_stdout(io.StringIO()):
            return self._trackio.init(
                resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False, **options
            )

    def _finish(self, run: Any) -> None:
        with redirect_stdout(io.StringIO()):
            run.finish()
        self._trackio.context_vars.current_run.set(None)  # else it is finished again at the exit

    def open_run(self, run: TrackedRun, handle: str) -> str:
        """Begin or continue a run; the handle is its name in the project."""
        # Runs of two protocols have one title, so the name also has the end of the run's id.
        handle = handle or f"{run.title}, {run.id.rpartition('-')[2]}"
        self._runs[handle] = self._init(
            project=run.study, name=handle, group=run.condition, config=run.config()
        )
        return handle

    def log(self, handle: str, evaluations: Sequence[Evaluation]) -> None:
        """Add values by step."""
        for evaluation in evaluations:
            self._runs[handle].log(values_of(evaluation), step=evaluation.step)

    def close_run(self, handle: str, result: Result, files: Sequence[Path]) -> None:
        """Add the final values and the files, and end the run."""
        run = self._runs.pop(handle)
        run.log(final_values(result), step=result.step)
        for file in files:
            run.log_artifact(str(file), name=file.stem, type="run")
        self._finish(run)

    def log_report(self, study: str, folder: Path) -> None:
        """Add a run named `report` with the files of the report."""
        run = self._init(project=study, name="report")
        for file in report_files(folder):
            run.log_artifact(str(file), name=f"report-{file.stem}", type="report")
        self._finish(run)

    def close(self) -> None:
        """End the runs that are still open."""
        for run in self._runs.values():
            self._finish(run)
        self._runs.clear()


def create_tracker(root: Path) -> TrackioTracker:
    """Return the tracker."""
    return TrackioTracker(root)
