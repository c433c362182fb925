"""Executor of a plan, and the queue that all executors share. Free of torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from resnetlab.errors import InputError, Problem, ResnetlabError, ResourceError, UnfinishedError
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.config import RunConfig
from resnetlab.runs.paths import saved_steps
from resnetlab.runs.run_folder import RunFolder, utc_now
from resnetlab.runs.writer import commit_result
from resnetlab.studies.executors.messages import Job, RunEvent

MAX_ATTEMPTS = 3
"""Number of attempts for a run before it counts as missing."""

STOP_TIMEOUT_SECONDS = 25.0
"""Seconds that a worker has to write its checkpoint before it is killed."""

LOCK_RETRY_SECONDS = 2.0
"""Seconds before another attempt at a run that another driver has locked."""


class Executor(Protocol):
    """Machines that train the runs of a study."""

    def resolve_numerics(self, numerics: Numerics) -> Numerics:
        """Return `numerics`, resolved for this executor's machines.

        Raises InputError if they lack what it asks for.
        """

    def max_parallel(self, jobs: Sequence[Job]) -> int:
        """Return the number of `jobs` that run at the same time."""

    def run(self, jobs: Sequence[Job], should_stop: Callable[[], bool]) -> Iterator[RunEvent]:
        """Run the jobs in their order as machines become free, and yield their events.

        It ends early if `should_stop()` returns true. Raises ResourceError if the disk is full.
        """


@dataclass
class JobQueue:
    """Queue of jobs, with delayed jobs (locked by another driver) and numbers of attempts."""

    root: Path
    waiting: list[Job]
    delayed: list[tuple[float, Job]] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.waiting or self.delayed)

    def requeue_delayed(self) -> None:
        """Queue the delayed jobs whose time has come."""
        now = time.monotonic()
        self.waiting += [job for when, job in self.delayed if when <= now]
        self.delayed = [(when, job) for when, job in self.delayed if when > now]

    def take_jobs(self, max_jobs: int) -> list[Job]:
        """Take the first jobs that may begin now, at most `max_jobs`."""
        self.requeue_delayed()
        jobs, self.waiting = self.waiting[:max_jobs], self.waiting[max_jobs:]
        return jobs

    def take_jobs_of_condition(self, max_jobs: int) -> list[Job]:
        """Take the next job and others of its condition to run beside it: at most `max_jobs`.

        A job that has failed before runs alone, so that its failure cannot end another job.
        """
        first = self.waiting.pop(0)
        if max_jobs == 1 or first.id in self.attempts:
            return [first]
        same = _condition_config(first)
        with_same_condition = (
            job
            for job in self.waiting
            if job.id not in self.attempts and _condition_config(job) == same
        )
        others = list(islice(with_same_condition, max_jobs - 1))
        for job in others:
            self.waiting.remove(job)
        return [first, *others]

    def finish(self, job: Job, event: RunEvent) -> RunEvent:
        """Turn the last event of a job into that of its run, and queue a job that may retry again.

        Raises ResourceError if a disk is full.
        """
        if event.kind == "locked":
            self.delayed.append((time.monotonic() + LOCK_RETRY_SECONDS, job))
            return RunEvent("idle")
        if event.kind != "failed":
            return event
        self.attempts[job.id] = self.attempts.get(job.id, 0) + 1
        self._log_event(job, "failed", event.reason)
        if event.exit_code == ResourceError.exit_code:
            raise ResourceError(Problem("", event.reason, ""))
        if self.attempts[job.id] < MAX_ATTEMPTS and event.may_retry:
            self.waiting.append(replace(job, from_step=None))
            return event
        self._log_event(job, "gave up", event.reason)
        return replace(event, kind="missing")

    def finish_lost(self, job: Job, reason: str) -> RunEvent:
        """Return the event of a job whose process was lost, and queue it again if it may retry."""
        return self.finish(job, RunEvent("failed", job.id, reason=reason, may_retry=True))

    def record_out_of_memory(self, job: Job) -> RunEvent | None:
        """Record a kill for lack of memory; None if another process has the run.

        A run that was killed while it made measurements of its end has its result already.
        """
        run_folder = RunFolder.find(self.root, job.id)
        with run_folder.lock() as acquired:
            if not acquired:
                return None
            reason = "the system killed the process for lack of memory"
            step = max(saved_steps(run_folder.checkpoints), default=0)
            result = commit_result(run_folder, "out of memory", reason, step=step)
            return RunEvent("finished", job.id, status=result.status, reason=result.reason)

    def _log_event(self, job: Job, event: str, reason: str) -> None:
        with contextlib.suppress(ResourceError):  # a full disk is reported elsewhere
            run_folder = RunFolder.find(self.root, job.id)
            run_folder.log_event(
                {
                    "event": event,
                    "time": utc_now(),
                    "reason": reason,
                }
            )


def _condition_config(job: Job) -> RunConfig:
    """Return the part of the config that all runs of a condition share."""
    return replace(job.file.run, seed=0)


def missing_error(event: RunEvent, folder: str, command: str) -> ResnetlabError:
    """Return the error of a run that has no result.

    Args:
        event: Last event of the run.
        folder: Folder of the run.
        command: Command that tries again.

    Returns:
        An InputError if an invalid file, option or data set refused the run, so that nothing was
        started; else an UnfinishedError.
    """
    if event.exit_code == InputError.exit_code:
        return InputError(*(Problem("", line, "") for line in event.reason.splitlines()))
    return UnfinishedError(Problem(folder, event.reason, command))
