"""Worker processes on this machine. One that dies takes its attempt with it and no other run."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from resnetlab.codec import decode, encode
from resnetlab.errors import Problem, ResourceError
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.record import Evaluation, Result, RunFile, Status
from resnetlab.runs.spec import SCHEMA
from resnetlab.training.numerics import Placement, cores

COMMAND = (sys.executable, "-m", "resnetlab.studies.backends.worker")

ATTEMPTS = 3
"""Of one run, before it is missing."""

STOP_SECONDS = 25.0
"""For a worker to write its checkpoint, before it is killed."""


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


def worker_count(jobs: Sequence[Job], placement: Placement) -> int:
    """As many as were asked for; else as many as the cores carry, one on an accelerator. Never more than jobs."""
    if not jobs:
        return 0
    numerics = jobs[0].file.run.numerics
    carried = max(1, cores() // max(1, numerics.threads)) if numerics.device == "cpu" else 1
    return min(len(jobs), placement.workers or carried)


class LocalBackend:
    """Runs jobs under `root` in worker processes, each with its run's threads and no more."""

    def __init__(self, root: Path, placement: Placement) -> None:
        self.root, self.placement = root, placement
        self.messages: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()

    def run(self, jobs: Sequence[Job], stop: Callable[[], bool]) -> Iterator[Event]:
        """Do the jobs in their order, as workers come free, and tell of them; ends early when `stop()` says so.

        Every worker has ended when the generator has. Raises ResourceError when the disk is full.
        """
        waiting = deque(jobs)
        later: list[tuple[float, Job]] = []  # runs that another driver holds
        attempts: dict[str, int] = {}
        count = worker_count(jobs, self.placement)
        workers = [_Worker(self, number, jobs[0].file.run.numerics.threads) for number in range(count)]
        try:
            while waiting or later or any(worker.job for worker in workers):
                if stop():
                    yield from self._stopped(workers)
                    return
                waiting.extend(job for when, job in later if when <= time.monotonic())
                later = [(when, job) for when, job in later if when > time.monotonic()]
                for worker in workers:
                    if worker.job is None and waiting:
                        worker.start(waiting.popleft())
                try:
                    worker, message = self.messages.get(timeout=0.2)
                except queue.Empty:
                    yield Event("tick")
                    continue
                job = worker.job
                if job is None:
                    worker.gone = worker.gone or message is None
                    continue
                if message is None:
                    event = self._died(worker, job)
                elif message["kind"] == "busy":
                    worker.job = None
                    later.append((time.monotonic() + 2, job))
                    continue
                else:
                    event = _event(message)
                if event.kind in ("finished", "failed"):
                    worker.job = None
                if event.kind == "failed":
                    attempts[job.id] = attempts.get(job.id, 0) + 1
                    self._note(job, "failed", event.reason)
                    if message is not None and message["exit_code"] == ResourceError.exit_code:
                        raise ResourceError(Problem("", event.reason, ""))
                    if attempts[job.id] < ATTEMPTS and (message is None or message["again"]):
                        waiting.append(replace(job, from_step=None))
                    else:
                        self._note(job, "gave up", event.reason)
                        event = Event("missing", job.id, reason=event.reason)
                yield event
        finally:
            for worker in workers:
                worker.end()

    def _stopped(self, workers: list[_Worker]) -> Iterator[Event]:
        """Ask every worker for a checkpoint, and wait for it."""
        for worker in workers:
            worker.send({"stop": True})
        deadline = time.monotonic() + STOP_SECONDS
        while any(worker.job for worker in workers) and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                worker, message = self.messages.get(timeout=0.2)
                if worker.job is not None and (message is None or message["kind"] in ("stopped", "finished", "failed")):
                    yield _event(message) if message else Event("stopped", worker.job.id)
                    worker.job = None

    def _died(self, worker: _Worker, job: Job) -> Event:
        """A worker's process ended in the middle of `job`."""
        worker.end()
        code = worker.process.returncode if worker.process else 0
        kills, worker.gone = _memory_kills(), True
        if code == -9 and kills > worker.memory_kills:
            directory = RunDirectory.of(self.root, job.id)
            with directory.claimed() as mine:
                if mine:
                    reason = "the system killed the process for want of memory"
                    result = Result(schema=SCHEMA, status="out of memory", reason=reason, step=0, chosen_step=0)
                    directory.commit(result)
                    return Event("finished", job.id, status="out of memory", reason=reason)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return Event("failed", job.id, reason=f"its process {how}; its log is cache/logs/{worker.log.name}")

    def _note(self, job: Job, event: str, reason: str) -> None:
        with contextlib.suppress(ResourceError):  # a full disk is told of elsewhere
            directory = RunDirectory.of(self.root, job.id)
            directory.note(
                {"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()), "reason": reason}
            )


@dataclass
class _Worker:
    """A process of the backend and the job that it is on."""

    backend: LocalBackend
    number: int
    threads: int
    process: subprocess.Popen[str] | None = None
    job: Job | None = None
    listener: threading.Thread | None = None
    gone: bool = True
    memory_kills: int = field(default_factory=lambda: _memory_kills())

    @property
    def log(self) -> Path:
        return self.backend.root / "cache" / "logs" / f"worker-{self.number}.log"

    def start(self, job: Job) -> None:
        """Begin `job`, in a new process when there is none."""
        if self.gone:
            self._spawn()
        self.job = job
        placement = self.backend.placement
        self.send({
            "id": job.id, "file": encode(job.file), "root": str(self.backend.root), "placement": encode(placement),
            "from_step": job.from_step,
        })  # fmt: skip

    def send(self, message: dict[str, Any]) -> None:
        if self.process and self.process.stdin and not self.gone:
            with contextlib.suppress(OSError):  # it died; its output's end says so
                self.process.stdin.write(json.dumps(message) + "\n")
                self.process.stdin.flush()

    def end(self) -> None:
        """Close its input, which ends it; kill it if it does not end."""
        if self.process is None:
            return
        with contextlib.suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS if self.job else 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.listener:
            self.listener.join(5)

    def _spawn(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        threads = str(self.threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
                start_new_session=True,  # Ctrl-C in a terminal is for the driver, which passes it on
            )  # fmt: skip
        self.gone, self.memory_kills = False, _memory_kills()
        self.listener = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        self.listener.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        if process.stdout:
            with process.stdout as lines:
                for line in lines:
                    with contextlib.suppress(ValueError):  # a line cut short by a kill
                        self.backend.messages.put((self, json.loads(line)))
        self.backend.messages.put((self, None))


def _event(message: dict[str, Any]) -> Event:
    kind = message["kind"]
    if kind == "progress":
        speed = message["images"] / message["seconds"] if message["seconds"] else 0.0
        evaluations = tuple(decode(Evaluation, line, "worker") for line in message["evaluations"])
        return Event("progress", message["id"], message["step"], message["total"], message["epoch"], speed, evaluations)
    if kind == "ready":
        return Event("tick")
    return Event(kind, message["id"], status=message.get("status"), reason=message.get("reason", ""))


def _memory_kills() -> int:
    """How many processes the system has killed for want of memory, as far as it says."""
    count = 0
    for path, word in (("/proc/vmstat", "oom_kill "), ("/sys/fs/cgroup/memory.events", "oom_kill ")):
        with contextlib.suppress(OSError, ValueError):
            lines = Path(path).read_text(encoding="ascii").splitlines()
            count += sum(int(line.split()[1]) for line in lines if line.startswith(word))
    return count
