"""Worker processes on this machine. If one dies, only its runs lose their attempt."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnetlab.recipes.numerics import Numerics, Placement, available_cpus
from resnetlab.schema import decode, encode
from resnetlab.studies.executors.base import STOP_TIMEOUT_SECONDS, JobQueue
from resnetlab.studies.executors.launcher import ForkedWorker, Launcher, can_fork_workers
from resnetlab.studies.executors.messages import Job, RunEvent, WorkerInput, make_request
from resnetlab.training.resolve import check_device_index, resolve_numerics

COMMAND = (sys.executable, "-m", "resnetlab.studies.executors.worker")


class LocalExecutor:
    """Executor with worker processes on this machine, each with the threads of its runs."""

    def __init__(self, root: Path, placement: Placement) -> None:
        self.root, self.placement = root, placement
        self.events: queue.Queue[tuple[_Worker, RunEvent | None]] = queue.Queue()
        """Events of all workers, each with its worker; None for the end of a worker's process."""
        self.launcher: Launcher | None = None

    def resolve_numerics(self, numerics: Numerics) -> Numerics:
        """Return the numerics resolved for this machine: one thread unless they ask for more."""
        resolved = resolve_numerics(numerics, single_run=False)
        check_device_index(resolved.device, self.placement.device_index)
        return resolved

    def max_parallel(self, jobs: Sequence[Job]) -> int:
        """Return the number of runs at the same time: processes times parallel seeds.

        By default there are as many processes as the cores allow, and one on an accelerator.
        """
        if not jobs:
            return 0
        numerics = jobs[0].file.run.numerics
        processes = (
            max(1, available_cpus() // max(1, numerics.threads)) if numerics.device == "cpu" else 1
        )
        return min(len(jobs), (self.placement.workers or processes) * self.placement.parallel_seeds)

    def run(self, jobs: Sequence[Job], should_stop: Callable[[], bool]) -> Iterator[RunEvent]:
        """Run the jobs in their order as workers become free, and yield their events.

        It ends early if `should_stop()` returns true. When the generator ends, every worker has
        ended. Raises ResourceError if the disk is full.
        """
        job_queue = JobQueue(self.root, list(jobs))
        count = math.ceil(self.max_parallel(jobs) / self.placement.parallel_seeds)
        numerics = jobs[0].file.run.numerics if jobs else Numerics()
        workers = [_Worker(self, number, numerics.threads) for number in range(count)]
        if count > 1 and numerics.device == "cpu" and can_fork_workers():
            self.launcher = Launcher(
                self.logs / f"launcher-{os.getpid()}.log", _environment(numerics.threads)
            )
        try:
            while job_queue or any(worker.jobs for worker in workers):
                if should_stop():
                    yield from self._stop_workers(workers)
                    return
                self._assign_jobs(job_queue, workers)
                try:
                    worker, event = self.events.get(timeout=0.2)
                except queue.Empty:
                    yield RunEvent("idle")
                    continue
                if event is None:
                    yield from self._handle_exit(worker, job_queue)
                elif not worker.jobs:
                    pass  # a late event of an earlier job
                elif event.kind in ("idle", "progress", "interrupted"):
                    yield event
                else:
                    event = job_queue.finish(worker.jobs.pop(event.id), event)
                    # The caller may write a report now; no worker should wait meanwhile.
                    if not should_stop():
                        self._assign_jobs(job_queue, workers)
                    yield event
        finally:
            for worker in workers:
                worker.close()
            if self.launcher:
                self.launcher.close()
                self.launcher = None

    @property
    def logs(self) -> Path:
        """Folder for the output of worker processes other than their messages."""
        return self.root / "cache" / "logs"

    def _assign_jobs(self, job_queue: JobQueue, workers: list[_Worker]) -> None:
        """Give waiting jobs to idle workers."""
        job_queue.requeue_delayed()
        for worker in workers:
            if not worker.jobs and job_queue.waiting:
                worker.start(job_queue.take_jobs_of_condition(self.placement.parallel_seeds))

    def _stop_workers(self, workers: list[_Worker]) -> Iterator[RunEvent]:
        """Ask every worker to write a checkpoint and stop, and wait for it."""
        for worker in workers:
            worker.send(WorkerInput(stop=True))
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while any(worker.jobs for worker in workers) and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                worker, event = self.events.get(timeout=0.2)
                if event is None:
                    yield from (RunEvent("interrupted", run_id) for run_id in worker.jobs)
                    worker.jobs = {}
                elif (
                    event.kind in ("interrupted", "finished", "failed") and event.id in worker.jobs
                ):
                    del worker.jobs[event.id]
                    yield event

    def _handle_exit(self, worker: _Worker, job_queue: JobQueue) -> Iterator[RunEvent]:
        """Handle the end of a worker's process, which may have had unfinished jobs."""
        worker.has_exited, jobs = True, list(worker.jobs.values())
        if not jobs:
            return
        worker.close()
        code = (worker.process.returncode if worker.process else 0) or 0
        kills, worker.jobs = count_memory_kills(), {}
        # With several runs it is not known which one used up the memory, so each is tried again
        # alone.
        short_of_memory = code == -9 and kills > worker.memory_kills and len(jobs) == 1
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        lost = f"its process {how}"
        if worker.log.exists():
            lost += f"; its log is cache/logs/{worker.log.name}"
        for job in jobs:
            event = job_queue.record_out_of_memory(job) if short_of_memory else None
            yield event or job_queue.finish_lost(job, lost)


@dataclass
class _Worker:
    """Worker process of the executor, with its present jobs by run id."""

    executor: LocalExecutor
    number: int
    threads: int
    process: subprocess.Popen[str] | ForkedWorker | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    listener: threading.Thread | None = None
    has_exited: bool = True
    num_starts: int = 0
    """Number of processes so far; each has a log of its own."""
    memory_kills: int = field(default_factory=lambda: count_memory_kills())

    @property
    def log(self) -> Path:
        name = f"worker-{os.getpid()}-{self.number}-{self.num_starts}.log"
        return self.executor.logs / name

    def start(self, jobs: list[Job]) -> None:
        """Start `jobs` side by side, in a new process if there is none."""
        if self.has_exited:
            self._spawn()
        self.jobs = {job.id: job for job in jobs}
        executor = self.executor
        requests = (make_request(job, executor.root, executor.placement) for job in jobs)
        self.send(WorkerInput(tuple(requests)))

    def send(self, message: WorkerInput) -> None:
        if self.process and self.process.stdin and not self.has_exited:
            with contextlib.suppress(OSError):  # it died; the end of its output reports that
                self.process.stdin.write(json.dumps(encode(message)) + "\n")
                self.process.stdin.flush()

    def close(self) -> None:
        """End the process by closing its input; kill it if it does not end."""
        if self.process is None:
            return
        with contextlib.suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS if self.jobs else 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.listener:
            self.listener.join(5)
        with contextlib.suppress(OSError):
            if not self.log.stat().st_size:
                self.log.unlink()

    def _spawn(self) -> None:
        self.num_starts += 1
        self.log.parent.mkdir(parents=True, exist_ok=True)
        launcher = self.executor.launcher
        self.process = (
            launcher.start(self.log)
            if launcher and not launcher.has_exited
            else self._start_process()
        )
        self.has_exited, self.memory_kills = False, count_memory_kills()
        self.listener = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        self.listener.start()

    def _start_process(self) -> subprocess.Popen[str]:
        """Start a new Python process, which imports torch itself."""
        with self.log.open("w") as log:
            return subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(self.threads),
                # The driver handles Ctrl-C and passes it on: hence a session on POSIX, a group on
                # Windows.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )

    def _listen(self, process: subprocess.Popen[str] | ForkedWorker) -> None:
        try:
            if process.stdout:
                with process.stdout as lines:
                    for line in lines:
                        with contextlib.suppress(ValueError):  # a line cut short by a kill
                            message = json.loads(line)
                            self.executor.events.put((self, decode(RunEvent, message, "worker")))
        finally:
            self.executor.events.put((self, None))


def _environment(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}


def count_memory_kills() -> int:
    """Return the number of processes killed for lack of memory, as the system reports it."""
    count = 0
    for path, word in (
        ("/proc/vmstat", "oom_kill "),
        ("/sys/fs/cgroup/memory.events", "oom_kill "),
    ):
        with contextlib.suppress(OSError, ValueError):
            lines = Path(path).read_text(encoding="ascii").splitlines()
            count += sum(int(line.split()[1]) for line in lines if line.startswith(word))
    return count
