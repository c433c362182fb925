"""Training of one run in the process of a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from resnetlab.data.config import Dataset
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.attempt import ProgressCallback, RunAttempt
from resnetlab.runs.records import Result, RunFile
from resnetlab.runs.session import run_attempt
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.round_robin import round_robin


def train_run(
    run_id: str,
    file: RunFile,
    dataset: Dataset,
    root: Path,
    placement: Placement,
    should_stop: Callable[[], bool],
    on_progress: ProgressCallback,
    from_step: int | None = None,
    world: World = SINGLE_PROCESS,
) -> Result | None:
    """Run `run_attempt` to its end and return the result."""
    attempt = RunAttempt(run_id, file, root, placement, should_stop, on_progress, from_step, world)
    ((_, result),) = round_robin([run_attempt(attempt, dataset)])
    return result
