"""One run in the process that calls: no second process has to start and import torch again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnetlab.recipes.numerics import Placement
from resnetlab.studies.executors.base import Event, Job, Queue, event_of, message_of

POLL_SECONDS = 0.2
"""Between two looks at a run that another process trains."""


def run_here(
    job: Job, root: Path, placement: Placement, stop: Callable[[], bool], see: Callable[[Event], None]
) -> None:
    """Do one run under `root` in this process, and tell `see` of it as a worker would tell its driver.

    Waits while another process trains the run. Ends early, with a checkpoint, when `stop()` says so. torch's settings
    are put back at the end. Raises ResourceError when the disk is full.
    """
    from resnetlab.studies.executors.worker import Bench  # torch, as below: a mistake is told before it is imported
    from resnetlab.training.device import restored_settings

    queued = Queue(root, [job])
    log = root / "cache" / "logs" / f"{job.id}.log"
    last: dict[str, Any] = {}

    def tell(**message: Any) -> None:
        if message["kind"] == "progress":
            see(event_of(message))
        else:
            last.update(message)

    with restored_settings():
        while queued and not stop():
            if not queued.due():
                see(Event("tick"))
                time.sleep(POLL_SECONDS)
                continue
            (due,) = queued.take(1)
            last.clear()
            Bench(stop, tell, log=log).work(message_of(due, root, placement))
            see(queued.after(due, last))
