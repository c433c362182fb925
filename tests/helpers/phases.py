"""Phases of an unfinished run, detected from the files of its folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

BEFORE = "before the first checkpoint"
BETWEEN = "between checkpoints"
WRITE = "during the write of a checkpoint"
LAST = "between the last checkpoint and the result"
AFTER = "after the result"
DRIVER = "during a write of the driver"
PHASES = (BEFORE, BETWEEN, WRITE, LAST)


class Phases:
    """Phases of the runs under `root` in one session of a command, which begins now.

    Args:
        root: Folder that contains `runs`.
        last_step: Step of the last checkpoint that a run writes.
    """

    def __init__(self, root: Path, last_step: int) -> None:
        self.root, self.last_step = root, last_step
        self.old = {entry for run in root.glob("runs/*") for entry in _incomplete(run)}
        """Incomplete checkpoints of earlier sessions."""

    def phase_of(self, run: Path) -> str:
        """Return the phase of a run that has begun."""
        if (run / "result.json").exists():
            return AFTER
        if set(_incomplete(run)) - self.old:
            return WRITE
        steps = complete_steps(run)
        if not steps:
            return BEFORE
        return LAST if steps[-1] >= self.last_step else BETWEEN

    def by_run(self) -> dict[Path, str]:
        """Return the phase of each run that has begun."""
        runs = [path.parent for path in self.root.glob("runs/*/run.json")]
        return {run: self.phase_of(run) for run in runs}

    def wait_for(self, phase: str, is_alive: Callable[[], bool]) -> bool:
        """Wait until a run is in the phase. Return False if the command ends before."""
        while is_alive():
            if phase in self.by_run().values():
                return True
            time.sleep(0.01)
        return False


def complete_steps(run: Path) -> list[int]:
    """Return the steps of the complete checkpoints of a run, in order."""
    return sorted(int(path.parent.name) for path in run.glob("checkpoints/*/MANIFEST.json"))


def _incomplete(run: Path) -> list[tuple[str, int]]:
    """Return the incomplete checkpoints of a run, each with the time of its last change."""
    incomplete = []
    for folder in run.glob("checkpoints/*"):
        try:
            changed = folder.stat().st_mtime_ns
        except FileNotFoundError:  # removed meanwhile
            continue
        if not (folder / "MANIFEST.json").exists() and folder.exists():
            incomplete.append((str(folder), changed))
    return incomplete
