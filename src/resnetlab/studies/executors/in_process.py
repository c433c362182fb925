"""Runs in the calling process, so that no second process has to start and import torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from resnetlab.recipes.numerics import Placement
from resnetlab.studies.executors.base import JobQueue
from resnetlab.studies.executors.messages import Job, RunEvent, make_request

POLL_SECONDS = 0.2
"""Seconds between two checks of a run that another process trains."""


def run_in_process(
    job: Job,
    root: Path,
    placement: Placement,
    should_stop: Callable[[], bool],
    on_event: Callable[[RunEvent], None],
) -> None:
    """Train one run under `root` in this process, and pass its events to `on_event`.

    It waits while another process trains the run. It ends early, with a checkpoint, if
    `should_stop()` returns true. torch's settings are restored at the end. Raises
    ResourceError if the disk is full.
    """
    # It imports torch; mistakes are reported before.
    from resnetlab.studies.executors.worker import JobRunner
    from resnetlab.training.device import preserve_device_settings

    job_queue = JobQueue(root, [job])
    log = root / "cache" / "logs" / f"{job.id}.log"
    last = RunEvent("idle")

    def handle(event: RunEvent) -> None:
        nonlocal last
        last = event
        if event.kind == "progress":
            on_event(event)

    with preserve_device_settings():
        while job_queue and not should_stop():
            job_queue.requeue_delayed()
            if not job_queue.waiting:
                on_event(RunEvent("idle"))
                time.sleep(POLL_SECONDS)
                continue
            (ready,) = job_queue.take_jobs_of_condition(1)
            JobRunner(should_stop, handle, log=log).run(make_request(ready, root, placement))
            on_event(job_queue.finish(ready, last))
