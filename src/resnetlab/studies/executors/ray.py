"""Executor for a Ray cluster. This is the only module that imports ray.

The folders of the runs are the record. They are on storage that all machines share, so another
driver can go on if one dies. Each job is a Ray task with its processors and GPUs. Ray itself does
not retry tasks: a run that lost its machine resumes elsewhere from its last checkpoint, and
`JobQueue` counts this as an attempt.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # experiments are private

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from resnetlab.errors import InputError, first_line, input_error
from resnetlab.files import write_text
from resnetlab.recipes.numerics import Numerics, Placement
from resnetlab.schema import decode, encode
from resnetlab.settings import CACHE_VARIABLE, OFFLINE_VARIABLE
from resnetlab.studies.executors.base import STOP_TIMEOUT_SECONDS, JobQueue
from resnetlab.studies.executors.messages import Job, JobRequest, RunEvent, make_request

if TYPE_CHECKING:
    from resnetlab.studies.executors.worker import JobRunner

POLL_SECONDS = 0.3
MAX_TASKS = 1000
"""Largest number of tasks that Ray has at once, running or waiting for a machine: the driver waits
for all of them at each step, and 10,000 would keep it busy.
"""

STOP_POLL_SECONDS = 1.0
"""Seconds between two checks of a task for a request to stop."""


class RayExecutor:
    """Executor that runs jobs under `root` on a Ray cluster.

    `address` is that of a cluster, `auto` for one that runs on this machine, or empty to start one.
    """

    def __init__(self, root: Path, placement: Placement, address: str = "") -> None:
        self.root, self.placement = root.absolute(), placement
        if not ray.is_initialized():
            try:
                _check_reachable(address)
                ray.init(
                    address=address or "local", log_to_driver=False, logging_level=logging.ERROR
                )
            except (OSError, ValueError, RuntimeError) as error:
                fix = "ray start --head, or --address of a cluster that runs"
                raise input_error(
                    "",
                    f"no Ray cluster answers: {first_line(error)}",
                    fix,
                    field="address",
                    got=address,
                ) from None
        self.cluster_marker = self.root / "cache" / "cluster"
        write_text(self.cluster_marker, ray.get_runtime_context().get_job_id())

    def resolve_numerics(self, numerics: Numerics) -> Numerics:
        """Return the numerics resolved on a machine of the cluster.

        It is a machine with a GPU if there is one and the study may use it.
        """
        gpus = ray.cluster_resources().get("GPU", 0) and numerics.device in ("auto", "cuda")
        task = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=0)(_resolve_numerics)
        resolved, problems = ray.get(task.remote(encode(numerics), self._driver_environment()))
        if problems:
            raise InputError(*problems)
        return decode(Numerics, resolved, "cluster")  # type: ignore[no-any-return]

    def max_parallel(self, jobs: Sequence[Job]) -> int:
        """Return the number of tasks that the cluster can run at the same time."""
        resources, tasks = ray.cluster_resources(), len(jobs)
        for kind, needed in self._resources(jobs[0]).items() if jobs else ():
            if needed:
                tasks = min(
                    tasks,
                    int(resources.get({"num_cpus": "CPU", "num_gpus": "GPU"}[kind], 0) / needed),
                )
        return tasks

    def run(self, jobs: Sequence[Job], should_stop: Callable[[], bool]) -> Iterator[RunEvent]:
        """Run the jobs as the cluster has free resources, and yield their events.

        It ends early if `should_stop()` returns true. Raises ResourceError if a disk is full.
        """
        job_queue, running = JobQueue(self.root, list(jobs)), dict[Any, Job]()
        on_driver = NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        message_queue = ray.remote(num_cpus=0, scheduling_strategy=on_driver)(
            _MessageQueue
        ).remote()
        try:
            while job_queue or running:
                free = MAX_TASKS - len(running)
                for job in job_queue.take_jobs(free):
                    running[self._start_task(job, message_queue)] = job
                if should_stop():
                    yield from self._stop_tasks(running, message_queue)
                    return
                ended = _wait_for_ended(running)
                for message in ray.get(message_queue.drain.remote()):
                    yield _decode_event(message)
                for ref in ended:
                    yield self._finish_task(ref, running.pop(ref), job_queue)
                if not ended:
                    yield RunEvent("idle")
        finally:
            for ref in running:
                ray.cancel(ref, force=True)
            ray.kill(message_queue)

    def _start_task(self, job: Job, message_queue: Any) -> Any:
        task = ray.remote(**self._resources(job), max_retries=0)(_run_job)
        request = encode(make_request(job, self.root, self.placement))
        return task.remote(request, message_queue, self._driver_environment())

    def _resources(self, job: Job) -> dict[str, float]:
        numerics = job.file.run.numerics
        gpus = self.placement.gpus_per_run if numerics.device == "cuda" else 0
        return {"num_cpus": numerics.threads, "num_gpus": gpus}

    def _driver_environment(self) -> DriverEnvironment:
        names = (CACHE_VARIABLE, OFFLINE_VARIABLE)
        return {
            "folder": str(Path.cwd()),
            "marker": str(self.cluster_marker),
            "marker_text": self.cluster_marker.read_text(encoding="utf-8"),
            "versions": _versions(),
            "variables": {name: os.environ[name] for name in names if name in os.environ},
        }

    def _finish_task(self, ref: Any, job: Job, job_queue: JobQueue) -> RunEvent:
        try:
            return job_queue.finish(job, _decode_event(ray.get(ref)))
        except ray.exceptions.OutOfMemoryError:
            return job_queue.record_out_of_memory(job) or job_queue.finish_lost(
                job, "its process was killed for lack of memory"
            )
        except ray.exceptions.RayError as error:
            return job_queue.finish_lost(
                job, f"its machine or process was lost ({type(error).__name__})"
            )

    def _stop_tasks(self, running: dict[Any, Job], message_queue: Any) -> Iterator[RunEvent]:
        """Ask every task to write a checkpoint and stop, and wait for it."""
        ray.get(message_queue.stop.remote())
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while running and time.monotonic() < deadline:
            for ref in _wait_for_ended(running):
                job = running.pop(ref)
                with contextlib.suppress(ray.exceptions.RayError):
                    event = _decode_event(ray.get(ref))
                    yield event if event.kind == "finished" else RunEvent("interrupted", job.id)


def _decode_event(message: dict[str, Any]) -> RunEvent:
    event: RunEvent = decode(RunEvent, message, "cluster")
    return event


def _wait_for_ended(running: dict[Any, Job]) -> list[Any]:
    """Return the tasks that have ended, after a short wait."""
    if not running:
        time.sleep(POLL_SECONDS)
        return []
    ended: list[Any] = ray.wait(list(running), num_returns=len(running), timeout=POLL_SECONDS)[0]
    return ended


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT, which Ray would notice after minutes.

    Raises InputError for the address of a Ray client, through which no files are shared.
    """
    if "://" in address:
        message = "the address of a Ray client; this command runs on a machine of the cluster"
        raise input_error("", message, "--address HOST:PORT", field="address", got=address)
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


class _MessageQueue:
    """Queue on the driver's machine: tasks put messages into it and the driver takes them out."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.stopped = False

    def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def drain(self) -> list[dict[str, Any]]:
        messages, self.messages = self.messages, []
        return messages

    def stop(self) -> None:
        self.stopped = True

    def is_stopping(self) -> bool:
        return self.stopped


# On a machine of the cluster
# --------------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("resnetlab", "torch")}


class DriverEnvironment(TypedDict):
    """Settings of the driver that its tasks take over.

    It is a dictionary, so that a machine with another version of resnetlab can read it.
    """

    folder: str
    """Current folder of the driver."""
    marker: str
    """Path of a file on the shared storage."""
    marker_text: str
    """Content of that file."""
    versions: dict[str, str]
    """Versions of resnetlab and torch."""
    variables: dict[str, str]
    """Environment variables for the cache and for offline use, if they are set."""


def enter_driver_environment(driver: DriverEnvironment) -> None:
    """Enter the driver's folder and settings on a machine of the cluster.

    Raises InputError if the machine has other versions, or does not see the shared storage.
    """
    node = ray.util.get_node_ip_address()
    for name, version in _versions().items():
        expected = driver["versions"][name]
        if version != expected:
            fix = f"install {name} {expected} on every machine of the cluster"
            message = f"another {name} than the driver's"
            raise input_error(node, message, fix, got=version, allowed=expected)
    marker = Path(driver["marker"])
    if not marker.is_file() or marker.read_text(encoding="utf-8") != driver["marker_text"]:
        fix = "give --output on storage that all machines share"
        raise input_error(node, f"does not see {marker.parent.parent}", fix)
    os.chdir(driver["folder"] if Path(driver["folder"]).is_dir() else marker.parent)
    os.environ.update(driver["variables"])


def _resolve_numerics(
    numerics: dict[str, Any], driver: DriverEnvironment
) -> tuple[Any, tuple[Any, ...]]:
    """Return the numerics resolved on this machine, or its problems."""
    from resnetlab.training.resolve import resolve_numerics

    try:
        enter_driver_environment(driver)
        return encode(resolve_numerics(decode(Numerics, numerics, "driver"), single_run=False)), ()
    except InputError as error:
        return None, error.problems


@functools.cache
def _process_runner() -> JobRunner:
    """Return the runner of this process, which has the data of its last job open."""
    from resnetlab.studies.executors.worker import JobRunner

    return JobRunner(lambda: False, lambda _: None)


def _run_job(
    request: dict[str, Any], message_queue: Any, driver: DriverEnvironment
) -> dict[str, Any]:
    """Run the job of an encoded request and return the last event of its run, encoded."""
    last = RunEvent("idle")
    stop = threading.Event()

    def handle(event: RunEvent) -> None:
        nonlocal last
        last = event
        if event.kind == "progress":
            message_queue.send.remote(encode(event))

    def listen() -> None:
        while not stop.is_set():
            with contextlib.suppress(ray.exceptions.RayError):
                if ray.get(message_queue.is_stopping.remote()):
                    stop.set()
            stop.wait(STOP_POLL_SECONDS)

    try:
        enter_driver_environment(driver)
        decoded: JobRequest = decode(JobRequest, request, "driver")
    except InputError as error:
        run_id = request["job"]["id"]
        refused = RunEvent("failed", run_id, reason=str(error), exit_code=error.exit_code)
        return encode(refused)  # type: ignore[no-any-return]
    threading.Thread(target=listen, daemon=True).start()
    runner = _process_runner()
    runner.should_stop, runner.send = stop.is_set, handle
    runner.run(decoded)
    stop.set()
    return encode(last)  # type: ignore[no-any-return]
