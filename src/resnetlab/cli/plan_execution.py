"""Execution of a plan from the command line, with the progress of its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.cli.common import VERBOSITY, notify
from resnetlab.messages import shared_runs_note
from resnetlab.studies.executors.base import Executor
from resnetlab.studies.plan import Plan
from resnetlab.tracking.tracker_copy import TrackerCopy

if TYPE_CHECKING:
    from resnetlab.api.loaded_study import LoadedStudy


def execute_with_display(
    loaded: LoadedStudy,
    plan: Plan,
    root: Path,
    executor: Executor,
    should_stop: Callable[[], bool],
    tracker_copies: Sequence[TrackerCopy] = (),
) -> None:
    """Execute the missing runs of a plan, display their progress and copy them to trackers."""
    if shared := len(plan.runs) - len(plan.unique_runs):
        notify(shared_runs_note(shared))
    loaded.execute_with_progress(
        plan,
        root,
        executor,
        should_stop,
        progress=not VERBOSITY.quiet,
        tracker_copies=tracker_copies,
    )
