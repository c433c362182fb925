"""Event files for TensorBoard, in `tensorboard/STUDY/RUN` under the output folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnetlab.runs.records import Evaluation, Result
from resnetlab.shell import command_line
from resnetlab.tracking.base import TrackedRun, final_values, values_of


class TensorBoardTracker:
    """Event files that `tensorboard --logdir tensorboard` shows."""

    def __init__(self, root: Path) -> None:
        """Write nothing yet."""
        self.folder = root / "tensorboard"
        self.command = command_line(["tensorboard", "--logdir", str(self.folder)])
        self._writers: dict[str, Any] = {}
        self._configs: dict[str, dict[str, str | int | float | bool]] = {}

    def open_run(self, run: TrackedRun, handle: str) -> str:
        """Begin or continue an event file; the handle is its folder under `tensorboard`."""
        first = not handle
        handle = handle or f"{run.study}/{run.id}"
        self._configs[handle] = run.config()
        if first:
            rows = [f"| {name} | {value} |" for name, value in run.config().items()]
            text = "\n".join(["| field | value |", "|---|---|", *rows])
            self._writer(handle).add_text("config", text)
        return handle

    def log(self, handle: str, evaluations: Sequence[Evaluation]) -> None:
        """Add scalars."""
        writer = self._writer(handle)
        for evaluation in evaluations:
            for name, value in values_of(evaluation).items():
                writer.add_scalar(name, value, evaluation.step)
        writer.flush()

    def close_run(self, handle: str, result: Result, files: Sequence[Path]) -> None:
        """Add the final values and the hyperparameters; TensorBoard keeps no files."""
        del files
        writer = self._writer(handle)
        writer.add_text("status", result.status)
        writer.add_hparams(self._configs[handle], final_values(result), run_name=".")
        writer.close()
        del self._writers[handle]

    def log_report(self, study: str, folder: Path) -> None:
        """Add the text of the report."""
        writer = self._writer(f"{study}/report")
        writer.add_text("report", (folder / "report.md").read_text(encoding="utf-8"))

    def close(self) -> None:
        """Close all event files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, handle: str) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if handle not in self._writers:
            self._writers[handle] = SummaryWriter(str(self.folder / handle))
        return self._writers[handle]


def create_tracker(root: Path) -> TensorBoardTracker:
    """Return the tracker."""
    return TensorBoardTracker(root)
