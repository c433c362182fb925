"""Runs in the calling process, so that no second process has to start and import torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnetlab.recipes.numerics import Placement
from resnetlab.studies.executors.base import Event, Job, Queue, event_of, message_of

POLL_SECONDS = 0.2
"""Seconds between two checks of a run that another process trains."""


def run_here(
    job: Job,
    root: Path,
    placement: Placement,
    stop: Callable[[], bool],
    see: Callable[[Event], None],
) -> None:
    """Train one run under `root` in this process, and pass its events to `see`.

    It waits while another process trains the run. It ends early, with a checkpoint, if `stop()`
    returns true. torch's settings are restored at the end. Raises ResourceError if the disk is
    full.
    """
    from resnetlab.studies.executors.worker import (
        Bench,
    )  # imports torch; mistakes are reported before
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
            (ready,) = queued.take(1)
            last.clear()
            Bench(stop, tell, log=log).work(message_of(ready, root, placement))
            see(queued.after(ready, last))
