"""Trackers get each evaluation once and in order after any failure, and training never waits or
fails.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from resnetlab.cli import train_run
from resnetlab.errors import InputError
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.records import Evaluation, Result
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.execution import read_plan
from resnetlab.studies.executors.messages import RunEvent
from resnetlab.studies.plan import Plan
from resnetlab.tracking import tracker_copy as module
from resnetlab.tracking.base import TrackedRun, make_tracker
from resnetlab.tracking.tracker_copy import BackgroundCopies, TrackerCopy, copy_reports


class Recorder:
    """Tracker in memory, which fails at its next `failures` calls."""

    command = "recorder show"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.opened: dict[str, TrackedRun] = {}
        self.curves: dict[str, list[Evaluation]] = {}
        self.closed: dict[str, tuple[Result, list[str]]] = {}
        self.reports: list[Path] = []

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("server gone")

    def open_run(self, run: TrackedRun, handle: str) -> str:
        self._fail()
        handle = handle or f"handle-{run.id}"
        self.opened[handle] = run
        return handle

    def log(self, handle: str, evaluations: Sequence[Evaluation]) -> None:
        self._fail()
        self.curves.setdefault(handle, []).extend(evaluations)

    def close_run(self, handle: str, result: Result, files: Sequence[Path]) -> None:
        self._fail()
        assert handle not in self.closed
        self.closed[handle] = (result, [file.name for file in files])

    def log_report(self, study: str, folder: Path) -> None:
        assert study == "small"
        self.reports.append(folder)

    def close(self) -> None:
        pass


def plan_of(root: Path) -> Plan:
    return read_plan(root / "studies" / "small")


def check_complete(tracker: Recorder, root: Path) -> None:
    """Check that the tracker has the evaluations and the result of every run, each once."""
    for run in plan_of(root).unique_runs:
        run_folder, handle = RunFolder(root / "runs" / run.id), f"handle-{run.id}"
        assert tracker.curves[handle] == run_folder.metrics()
        assert tracker.closed[handle][0] == run_folder.result()
        assert "weights.safetensors" in tracker.closed[handle][1]
    assert len(tracker.closed) == 4


def test_a_report_and_every_run_are_copied_once(root: Path) -> None:
    tracker = Recorder()
    for _ in range(2):
        lines: list[str] = []
        copy_reports([TrackerCopy("recorder", tracker, plan_of(root), root)], lines.append)
        assert lines == ["recorder: recorder show"]
    check_complete(tracker, root)
    assert tracker.reports == [root / "studies" / "small"] * 2
    run = next(iter(tracker.opened.values()))
    assert run.config()["recipe.optimizer.lr"] == 1e-3
    assert run.config()["condition"] == run.condition


@pytest.mark.parametrize("failures", range(1, 8))
def test_data_missed_by_a_failing_tracker_are_copied_later_and_only_once(
    root: Path, failures: int
) -> None:
    tracker = Recorder(failures)
    lines: list[str] = []
    for _ in range(failures):
        copy_reports([TrackerCopy("recorder", tracker, plan_of(root), root)], lines.append)
    assert len(lines) == failures
    assert lines[0].startswith("note: recorder failed: ConnectionError('server gone')")
    assert "--track recorder" in lines[0]
    copy_reports([TrackerCopy("recorder", tracker, plan_of(root), root)], lines.append)
    check_complete(tracker, root)


def test_a_growing_run_is_copied_line_by_line_also_by_another_process(root: Path) -> None:
    run = plan_of(root).unique_runs[0]
    folder = root / "runs" / run.id
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    result = (folder / "result.json").read_text()
    (folder / "result.json").unlink()
    tracker = Recorder()
    # It grows, is resumed from a checkpoint (and shorter), grows again and ends.
    for count in (2, 4, 3, len(lines)):
        (folder / "metrics.jsonl").write_text("".join(lines[:count]))
        TrackerCopy("recorder", tracker, plan_of(root), root).copy_run(run)
    assert not tracker.closed
    (folder / "result.json").write_text(result)
    TrackerCopy("recorder", tracker, plan_of(root), root).copy_run(run)
    assert tracker.curves[f"handle-{run.id}"] == RunFolder(folder).metrics()
    assert list(tracker.closed) == [f"handle-{run.id}"]


def test_processes_that_copy_different_runs_at_once_do_not_overwrite_each_other(
    root: Path,
) -> None:
    """All processes read the file before the first one writes it. `Recorder` refuses to close a
    run twice.
    """
    tracker, runs = Recorder(), plan_of(root).unique_runs
    copies = [TrackerCopy("recorder", tracker, plan_of(root), root) for _ in runs]
    other = TrackerCopy("other", Recorder(), plan_of(root), root)
    threads = [
        threading.Thread(target=copy.copy_run, args=(run,))
        for copy, run in zip([*copies, other], [*runs, runs[0]], strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = json.loads((root / "tracking" / "small.json").read_text())
    assert {name: set(table) for name, table in state.items()} == {
        "recorder": {run.id for run in runs},
        "other": {runs[0].id},
    }
    for copy in copies:  # each has all runs by now, and none is copied again
        copy.copy_everything()
    check_complete(tracker, root)


def test_training_neither_waits_for_a_tracker_nor_fails_with_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 0.2)
    hangs = threading.Event()

    class Hanging(Recorder):
        def open_run(self, run: TrackedRun, handle: str) -> str:
            hangs.wait(20)
            return super().open_run(run, handle)

    plan = plan_of(root)
    slow, broken, good = Hanging(), Recorder(1), Recorder()
    copies = [
        TrackerCopy("broken", broken, plan, root),
        TrackerCopy("good", good, plan, root),
        TrackerCopy("slow", slow, plan, root),
    ]
    lines: list[str] = []
    with BackgroundCopies(copies, lines.append) as background:
        for run in plan.unique_runs:
            background.update(RunEvent("finished", run.id, status="trained"))
    copy_reports(copies, lines.append)
    hangs.set()
    check_complete(good, root)
    check_complete(broken, root)  # it works again at the report
    assert any(line.startswith("note: broken failed") for line in lines)
    assert any(line.startswith("note: slow is slow and still copies") for line in lines)


@pytest.mark.parametrize(("rank", "copied"), [(0, ["recorder"]), (1, []), (3, [])])
def test_with_torchrun_only_the_first_process_copies_its_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, rank: int, copied: list[str]
) -> None:
    plan, opened = plan_of(root), list[str]()

    def open_copies(names: Sequence[str], *_: object) -> list[TrackerCopy]:
        opened.extend(names)
        return []

    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(train_run, "plan_run", lambda *_, **__: plan)
    monkeypatch.setattr(train_run, "_execute", lambda *_, **__: None)
    monkeypatch.setattr(train_run, "open_tracker_copies", open_copies)
    train_run.train(
        "cifar-resnet20",
        "digits",
        "adam",
        seed=0,
        settings=(),
        diagnostics=DiagnosticsConfig(),
        output=root,
        placement=Placement(),
        track=("recorder",),
    )
    assert opened == copied


def test_an_unknown_tracker_or_an_absent_package_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"--track: not a tracker \(got comet; allowed: tens"):
        make_tracker("comet", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r'not installed.*pip install "resnetlab\[wandb\]"'):
        make_tracker("wandb", tmp_path)
