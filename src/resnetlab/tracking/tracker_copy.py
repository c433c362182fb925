"""Copies of a study's runs in trackers. A tracker is never read back.

A tracker gets what is written in the folders, so nothing is lost when it fails: the next call
copies the rest. `tracking/STUDY.json` lists what each tracker has. Free of torch.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from resnetlab.errors import ResnetlabError, input_error
from resnetlab.files import MAX_GENERATED_BYTES, read_json, try_lock, write_json
from resnetlab.messages import Notify
from resnetlab.runs.paths import WEIGHTS
from resnetlab.runs.run_folder import CHECKED_FILES, RunFolder
from resnetlab.studies.executors.messages import RunEvent
from resnetlab.studies.plan import Plan, PlannedRun, folder_name
from resnetlab.tracking.base import TrackedRun, Tracker, UnknownRunError, make_tracker

MAX_WAIT_SECONDS = 60.0
"""Time that a tracker gets after the last run, and to take the report."""

POLL_SECONDS = 0.02
"""Time between two attempts to lock the file that lists what each tracker has."""


class TrackerCopy:
    """Copy of a study's runs in one tracker."""

    def __init__(self, name: str, tracker: Tracker, plan: Plan, root: Path) -> None:
        """Open no run yet."""
        self.name, self.tracker, self.plan, self.root = name, tracker, plan, root
        self._path = root / "tracking" / f"{folder_name(plan)}.json"
        self._state: dict[str, dict[str, Any]] = {}
        """State of each run that was looked at: its handle, and what the tracker has of it."""
        self.lock = threading.Lock()
        """Lock of a thread that copies. Trackers cannot copy two runs at once."""
        self._opened: dict[str, str] = {}
        """Handles of the runs that this process has opened."""

    def copy_run(self, run: PlannedRun) -> None:
        """Copy the evaluations, and at its end the result, that the tracker does not have."""
        if run.id not in self._opened:  # another process may have copied it since the start
            new_run = {"handle": "", "evaluations": 0, "closed": False}
            self._state[run.id] = self._read_table().get(self.name, {}).get(run.id, new_run)
        state = self._state[run.id]
        run_folder = RunFolder.find(self.root, run.id)
        if state["closed"] or not (run_folder.path / "run.json").exists():
            return
        evaluations, result = run_folder.metrics(), run_folder.result()
        if run.id not in self._opened:
            tracked = TrackedRun(
                run.id, self.plan.study.name, run.condition, run.seed, run_folder.file()
            )
            try:
                self._opened[run.id] = self.tracker.open_run(tracked, state["handle"])
            except UnknownRunError as error:
                message = f"lists the run {run.id}, which {self.name} does not have any more"
                fix = (
                    f'remove the entry "{self.name}" of {self._path}, or the file if it has no '
                    "other entry; the same command then copies every run again"
                )
                raise input_error(str(self._path), message, fix) from error
            state["handle"] = self._opened[run.id]
            self._save()
        # A resumed run repeats evaluations with the same values.
        if new := evaluations[state["evaluations"] :]:
            self.tracker.log(state["handle"], new)
            state["evaluations"] += len(new)
        if result is not None:
            names = [*CHECKED_FILES, WEIGHTS]
            files = [run_folder.path / name for name in names if (run_folder.path / name).exists()]
            self.tracker.close_run(state["handle"], result, files)
            state["closed"] = True
        self._save()

    def copy_everything(self) -> None:
        """Copy every run, and the report of a study; a single run has none."""
        for run in self.plan.unique_runs:
            self.copy_run(run)
        folder = self.root / "studies" / folder_name(self.plan)
        if (folder / "report.html").exists():
            self.tracker.log_report(self.plan.study.name, folder)
        self.tracker.close()

    def _read_table(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Read what each tracker has of each run, as all processes wrote it."""
        table: dict[str, dict[str, dict[str, Any]]] = (
            read_json(self._path, MAX_GENERATED_BYTES) if self._path.exists() else {}
        )
        return table

    def _save(self) -> None:
        """Write the state of the runs that this process has opened beside that of all others."""
        opened = {run_id: self._state[run_id] for run_id in self._opened}
        with _locked(self._path.with_suffix(".lock")):
            table = self._read_table()
            write_json(self._path, table | {self.name: table.get(self.name, {}) | opened})


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Acquire the file lock `path` for the `with` block, as soon as no other process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with try_lock(path) as acquired:
            if acquired:
                yield
                return
        time.sleep(POLL_SECONDS)


def open_tracker_copies(names: Sequence[str], plan: Plan, root: Path) -> list[TrackerCopy]:
    """Return a copy for each tracker. Raises InputError for a tracker that is not there."""
    return [
        TrackerCopy(name, make_tracker(name, root), plan, root) for name in dict.fromkeys(names)
    ]


class BackgroundCopies:
    """Thread that copies the runs of events to trackers, for a `with` block.

    Training never waits for a tracker and never fails because of one. At the end of the block the
    thread has a minute for the rest.
    """

    def __init__(self, tracker_copies: Sequence[TrackerCopy], notify: Notify) -> None:
        """Start nothing yet."""
        self._tracker_copies, self._notify = list(tracker_copies), notify
        self._changed: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._copy_changed, name="trackers", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread, if there is a tracker."""
        if self._tracker_copies:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the thread."""
        if self._tracker_copies:
            self._changed.put(None)
            self._thread.join(MAX_WAIT_SECONDS)

    def update(self, event: RunEvent) -> None:
        """Copy the run of an event that has evaluations, or is the end of the run."""
        if event.kind == "finished" or event.evaluations:
            self._changed.put(event.id)

    def _copy_changed(self) -> None:
        working = list(self._tracker_copies)
        while (run_id := self._changed.get()) is not None:
            working = [copy for copy in working if self._try_copy_run(copy, run_id)]

    def _try_copy_run(self, copy: TrackerCopy, run_id: str) -> bool:
        run = next(run for run in copy.plan.runs if run.id == run_id)
        return _try_action(copy, lambda: copy.copy_run(run), self._notify)


def copy_reports(tracker_copies: Sequence[TrackerCopy], notify: Notify) -> None:
    """Copy the report of the study, and what a tracker did not get before; print where it is."""
    for copy in tracker_copies:
        if _try_action(copy, copy.copy_everything, notify):
            notify(f"{copy.name}: {copy.tracker.command}")


def _try_action(copy: TrackerCopy, action: Callable[[], None], notify: Notify) -> bool:
    """Do `action`, and return True; if it fails, say so and return False."""
    if not copy.lock.acquire(timeout=MAX_WAIT_SECONDS):
        notify(f"note: {copy.name} is slow and still copies; the same command copies the rest")
        return False
    try:
        action()
    except Exception as error:  # a program of others may fail in any way; the runs go on
        reason = repr(error)[:300]
        if isinstance(error, ResnetlabError):  # its first problem with the fix
            reason = str(error.problems[0]).removesuffix(".")
        notify(
            f"note: {copy.name} failed: {reason}. The runs go on; the same command with --track "
            f"{copy.name} copies the rest later"
        )
        return False
    finally:
        copy.lock.release()
    return True
