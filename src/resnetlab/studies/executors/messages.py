"""Messages between a driver and its workers: jobs, and events of their runs. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnetlab.models.configs.external import code_is_allowed
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.records import Evaluation, RunFile, Status


@dataclass(frozen=True)
class Job:
    """Run to train, and the checkpoint to start from."""

    id: str
    file: RunFile
    from_step: int | None = None
    """Step of the checkpoint to resume from; None for the last one, 0 for a new start."""


@dataclass(frozen=True)
class JobRequest:
    """Request to train a job, with what a worker cannot know."""

    job: Job
    root: str
    """Folder of all files."""
    placement: Placement
    allows_code: bool
    """True if the user has allowed the code that the run's model names."""


def make_request(job: Job, root: Path, placement: Placement) -> JobRequest:
    """Return the request to train `job` under `root`."""
    return JobRequest(job, str(root), placement, code_is_allowed(job.file.run.model))


@dataclass(frozen=True)
class WorkerInput:
    """Line that a driver writes to a worker: jobs to train side by side, or the order to stop."""

    requests: tuple[JobRequest, ...] = ()
    stop: bool = False
    """True to write the checkpoints and end."""


@dataclass(frozen=True)
class RunEvent:
    """Event of a run. An `idle` event belongs to no run and marks only that time has passed."""

    kind: Literal["idle", "progress", "finished", "interrupted", "locked", "failed", "missing"]
    """Kind of the event. locked: another driver trains the run; failed: an attempt failed; missing:
    no attempt is left, or another one would fail too.
    """
    id: str = ""
    """Id of the run."""
    step: int = 0
    """Number of optimizer steps so far."""
    total_steps: int = 0
    """Number of optimizer steps of the whole run."""
    epoch: float = 0.0
    """Number of epochs so far."""
    images_per_second: float = 0.0
    """Throughput of the training steps since the last event of the run."""
    evaluations: tuple[Evaluation, ...] = ()
    """Evaluations since the last event of the run."""
    status: Status | None = None
    """Status of a finished run."""
    reason: str = ""
    """Explanation of the status, or of a failure."""
    exit_code: int = 0
    """Exit code of the error that `reason` describes; 0 if the process was lost."""
    may_retry: bool = False
    """True if another attempt may succeed after this failure."""
