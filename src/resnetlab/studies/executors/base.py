"""What every backend has in common: jobs, what happens to them, and how often one is tried. Free of torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from resnetlab.errors import Problem, ResourceError
from resnetlab.recipes.numerics import Numerics, Placement
from resnetlab.runs.config import SCHEMA, RunSpec
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.records import Evaluation, Result, RunFile, Status
from resnetlab.schema import decode, encode

ATTEMPTS = 3
"""Of one run, before it is missing."""

STOP_SECONDS = 25.0
"""For a worker to write its checkpoint, before it is killed."""

BUSY_SECONDS = 2.0
"""Until a run that another driver holds is asked for again."""


@dataclass(frozen=True)
class Job:
    """A run to be done."""

    id: str
    file: RunFile
    from_step: int | None = None
    """The checkpoint to go on from; None for the last, 0 for none."""


@dataclass(frozen=True)
class Event:
    """What happened to a run; `tick` is nobody's: time has passed."""

    kind: Literal["tick", "progress", "finished", "stopped", "failed", "missing"]
    id: str = ""
    step: int = 0
    total: int = 0
    epoch: float = 0.0
    images_per_second: float = 0.0
    evaluations: tuple[Evaluation, ...] = ()
    status: Status | None = None
    reason: str = ""


class Backend(Protocol):
    """Where the runs of a study are done."""

    def settle(self, numerics: Numerics) -> Numerics:
        """`numerics` without `auto`, as the machines of this backend resolve them. Raises InputError."""

    def width(self, jobs: Sequence[Job]) -> int:
        """How many of `jobs` are worked on at once."""

    def run(self, jobs: Sequence[Job], stop: Callable[[], bool]) -> Iterator[Event]:
        """Do the jobs in their order, as there is room, and tell of them; ends early when `stop()` says so.

        Raises ResourceError when the disk is full.
        """


@dataclass
class Queue:
    """The jobs that wait, those that another driver holds, and how often each was tried."""

    root: Path
    waiting: list[Job]
    later: list[tuple[float, Job]] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.waiting or self.later)

    def due(self) -> list[Job]:
        """The jobs that may begin now, in order."""
        now = time.monotonic()
        self.waiting += [job for when, job in self.later if when <= now]
        self.later = [(when, job) for when, job in self.later if when > now]
        return self.waiting

    def take(self, most: int) -> list[Job]:
        """The next job that is due, and up to `most` in all of its condition that may stand beside it.

        One that was tried before stands alone: whatever ended it shall end no other.
        """
        first = self.waiting.pop(0)
        if most == 1 or first.id in self.attempts:
            return [first]
        same = _condition(first)
        beside = [job for job in self.waiting if job.id not in self.attempts and _condition(job) == same][: most - 1]
        for job in beside:
            self.waiting.remove(job)
        return [first, *beside]

    def after(self, job: Job, message: dict[str, Any] | None, lost: str = "") -> Event:
        """What a worker's last word on `job` comes to, and `job` again in the queue where that is called for.

        `message` is None when the worker was lost, and `lost` says how. Raises ResourceError when a disk is full.
        """
        if message is not None and message["kind"] == "busy":
            self.later.append((time.monotonic() + BUSY_SECONDS, job))
            return Event("tick")
        event = event_of(message) if message is not None else Event("failed", job.id, reason=lost)
        if event.kind != "failed":
            return event
        self.attempts[job.id] = self.attempts.get(job.id, 0) + 1
        self._note(job, "failed", event.reason)
        if message is not None and message["exit_code"] == ResourceError.exit_code:
            raise ResourceError(Problem("", event.reason, ""))
        if self.attempts[job.id] < ATTEMPTS and (message is None or message["again"]):
            self.waiting.append(replace(job, from_step=None))
            return event
        self._note(job, "gave up", event.reason)
        return Event("missing", job.id, reason=event.reason)

    def out_of_memory(self, job: Job) -> Event | None:
        """Record that the system killed the run's process for want of memory; None when another holds the run."""
        directory = RunDirectory.of(self.root, job.id)
        with directory.claimed() as mine:
            if not mine:
                return None
            reason = "the system killed the process for want of memory"
            result = Result(schema=SCHEMA, status="out of memory", reason=reason, step=0, chosen_step=0)
            directory.commit(result)
            return Event("finished", job.id, status="out of memory", reason=reason)

    def _note(self, job: Job, event: str, reason: str) -> None:
        with contextlib.suppress(ResourceError):  # a full disk is told of elsewhere
            directory = RunDirectory.of(self.root, job.id)
            directory.note(
                {"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()), "reason": reason}
            )


def _condition(job: Job) -> RunSpec:
    """What the runs of a condition have in common."""
    return replace(job.file.run, seed=0)


def message_of(job: Job, root: Path, placement: Placement) -> dict[str, Any]:
    """A job as a worker takes it."""
    return {
        "id": job.id, "file": encode(job.file), "root": str(root), "placement": encode(placement),
        "from_step": job.from_step,
    }  # fmt: skip


def event_of(message: dict[str, Any]) -> Event:
    """A worker's message as an event."""
    kind = message["kind"]
    if kind == "progress":
        speed = message["images"] / message["seconds"] if message["seconds"] else 0.0
        evaluations = tuple(decode(Evaluation, line, "worker") for line in message["evaluations"])
        return Event("progress", message["id"], message["step"], message["total"], message["epoch"], speed, evaluations)
    if kind == "ready":
        return Event("tick")
    return Event(kind, message["id"], status=message.get("status"), reason=message.get("reason", ""))
