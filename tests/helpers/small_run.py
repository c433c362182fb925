"""A small run that tests stop, resume and measure."""

from __future__ import annotations

from pathlib import Path

import resnetlab as rl
from helpers.attempts import train_run
from resnetlab.data.splits import load_dataset
from resnetlab.runs.records import Result, RunFile
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.single_run import plan_run

FIXED = (
    "numerics.threads=1",
    "numerics.precision=fp32",
    "recipe.batch_size=16",
    "recipe.epochs=3",
)
EVERY_STEP = rl.Placement(checkpoint_seconds=0, max_checkpoint_seconds=0)


class SmallRun:
    """A small residual network with dropout, under a root of its own. Later settings win."""

    def __init__(
        self,
        data: Path,
        root: Path,
        *settings: str,
        diagnostics: rl.DiagnosticsConfig | None = None,
        dropout: float = 0.1,
    ) -> None:
        plan = plan_run(
            rl.CifarConfig(blocks=(1, 1), widths=(4, 8), dropout=dropout),
            str(data),
            "adam",
            settings=[*FIXED, *settings],
            diagnostics=diagnostics,
            output=root,
        )
        (self.planned,), self.root = plan.runs, root
        self.file = self.planned.file
        self.run_folder = RunFolder.find(root, self.planned.id)
        self.dataset = load_dataset(self.file.data, root / "cache")
        self.steps: list[int] = []
        """Steps of the last call whose progress was reported."""

    def __call__(
        self,
        until: int | None = None,
        from_step: int | None = None,
        file: RunFile | None = None,
        placement: rl.Placement = EVERY_STEP,
    ) -> Result | None:
        """Train until a step, or to the end."""
        self.steps = []
        return train_run(
            self.run_folder.path.name,
            file or self.file,
            self.dataset,
            self.root,
            placement,
            lambda: until is not None and bool(self.steps) and self.steps[-1] >= until,
            lambda event, _: self.steps.append(event.step),
            from_step,
        )
