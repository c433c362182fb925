"""The watcher reads the files of runs that another process writes, and writes none of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import resnetlab as rl
from helpers.pages import report_of_watch
from helpers.synthetic import TRUTH, study_record
from resnetlab.runs.records import Evaluation
from resnetlab.studies.execution import save_plan
from resnetlab.studies.plan import Plan
from resnetlab.translation import use_language
from resnetlab.watch.page import live_page
from resnetlab.watch.progress import status_line, study_progress
from resnetlab.watch.watcher import StudyWatcher

Trained = tuple[Path, Plan, Path]


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    study_text: str,
    train_here: Callable[[Plan, Path], None],
) -> Trained:
    """Return the folder of a finished study, its plan, and the page that `study report` writes."""
    root = tmp_path_factory.mktemp("watched")
    (root / "small.toml").write_text(study_text)
    study = rl.load_study(root / "small.toml")
    plan = study.plan(root)
    train_here(plan, root)
    return root, plan, study.report(plan, root).report


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Path:
    """Return a copy of the study's folder that a test may change."""
    return shutil.copytree(trained[0], tmp_path / "copy")


def watcher_of(root: Path, plan: Plan) -> StudyWatcher:
    return StudyWatcher(plan, lambda: root / "studies" / "small", root, "en")


def refresh(watcher: StudyWatcher) -> str:
    """Look and write the report now. Returns the status line."""
    watcher.poll()
    watcher.next_report = 0.0
    watcher.refresh_report()
    return watcher.latest_page.page.status


def files_of(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_page_of_a_finished_study_equals_the_page_that_report_writes(trained: Trained) -> None:
    root, plan, report = trained
    before = files_of(root)
    watcher = watcher_of(root, plan)
    assert refresh(watcher).startswith("4 of 4 runs finished · this is the final report")
    page = watcher.latest_page.page
    expected = report.read_text()
    assert page.report == expected
    assert expected.count('<a href="runs/') >= 4
    live = live_page(page, plan.study.question, "en")
    policy = live.partition("Content-Security-Policy")[2].partition("\n")[0]
    policy_of_report = expected.partition("Content-Security-Policy")[2].partition("\n")[0]
    assert report_of_watch(live).replace(policy, policy_of_report) == expected
    written = {name for name in page.files if name != "report.json"}
    folder = report.parent
    assert written == {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("plan.json", "report.json")
    }
    assert files_of(root) == before


def test_finished_runs_appear_on_the_page_and_nothing_else_causes_an_event(
    trained: Trained, copy: Path
) -> None:
    _, plan, _ = trained
    first, *others = [copy / "runs" / run.id for run in plan.unique_runs]
    waiting = copy.parent / "waiting"
    waiting.mkdir()
    for folder in others:
        folder.rename(waiting / folder.name)
    watcher = watcher_of(copy, plan)
    status = refresh(watcher)
    assert status.startswith("1 of 4 runs finished · 3 waiting · no run is training now")
    assert "Partial report: 1 of 4 runs finished" in watcher.latest_page.page.report
    number, page = watcher.latest_page.wait(-1, 0)
    for _ in range(3):
        refresh(watcher)
    assert watcher.latest_page.wait(number, 0) == (number, page)
    (waiting / others[0].name).rename(others[0])
    assert refresh(watcher).startswith("2 of 4 runs finished")
    assert watcher.latest_page.wait(number, 0)[1].version != page.version
    assert first.exists()


def test_a_study_that_was_not_started_shows_its_plan_and_then_the_started_study(
    trained: Trained, tmp_path: Path
) -> None:
    root, plan, _ = trained
    started: list[Path] = []
    watcher = StudyWatcher(plan, lambda: started[0] if started else None, tmp_path, "en")
    assert refresh(watcher).startswith("0 of 4 runs finished · 4 waiting")
    assert "Partial report: 0 of 4 runs finished" in watcher.latest_page.page.report
    assert not list(tmp_path.iterdir())
    two = replace(plan, runs=plan.runs[:2])
    save_plan(two, tmp_path)
    started.append(next((tmp_path / "studies").iterdir()))
    shutil.copytree(root / "runs", tmp_path / "runs")
    assert refresh(watcher).startswith("2 of 2 runs finished")


@pytest.mark.parametrize(
    "name", ["result.json", "run.json", "metrics.jsonl", "provenance.jsonl", "checksums.json"]
)
def test_a_truncated_file_does_not_end_the_watcher(trained: Trained, copy: Path, name: str) -> None:
    _, plan, _ = trained
    path = copy / "runs" / plan.runs[0].id / name
    content = path.read_bytes()
    watcher = watcher_of(copy, plan)
    watcher.poll()
    for number, size in enumerate(range(0, len(content), max(1, len(content) // 9))):
        path.write_bytes(content[:size])
        os.utime(path, ns=(number, number))
        watcher.poll()
        assert "of 4 runs finished" in watcher.latest_page.page.status
        if name in ("result.json", "run.json"):
            assert f"not shown: {path.parent}" in watcher.latest_page.page.status
    assert refresh(watcher)
    assert "Partial report" in watcher.latest_page.page.report or name == "checksums.json"
    path.write_bytes(content)
    watcher.poll()
    assert watcher.latest_page.page.status.startswith(
        "4 of 4 runs finished · this is the final report"
    )


def test_the_last_page_stays_after_a_broken_plan_or_a_removed_folder(
    trained: Trained, copy: Path
) -> None:
    _, plan, _ = trained
    watcher = watcher_of(copy, plan)
    refresh(watcher)
    report = watcher.latest_page.page.report
    path = copy / "studies" / "small" / "plan.json"
    path.write_bytes(path.read_bytes()[:100])
    watcher.poll()
    assert watcher.latest_page.page.status.startswith("4 of 4 runs finished")
    shutil.rmtree(copy)
    watcher.poll()
    assert watcher.latest_page.page.status.startswith("0 of 4 runs finished")
    assert watcher.latest_page.page.report == report


def test_the_status_line_lists_the_training_runs_with_their_epochs_and_the_time_left() -> None:
    truth = TRUTH | {"plain 56": [("running", None)] * 5}
    record = study_record(truth)
    study_runs = []
    for study_run in record.runs:
        if study_run.state == "running" and study_run.record is not None:
            # 42 of 210 steps of each took a minute: four fifths of it are left
            line = Evaluation(
                step=42, epoch=2.0, split="test", loss_nats=1.0, top1_error_pct=50.0, seconds=60.0
            )
            study_run = replace(study_run, record=replace(study_run.record, metrics=(line,)))
        study_runs.append(study_run)
    progress = study_progress(replace(record, runs=tuple(study_runs)))
    assert len(progress.training) == 5
    assert (progress.finished, progress.planned) == (15, 20)
    assert progress.seconds_left == pytest.approx(4 * 60)
    text = status_line(progress, "12:00:00", ["runs/x: not JSON"])
    assert "training: plain 56, seed 0 (epoch 2 of 10); plain 56, seed 1 (epoch 2 of 10)" in text
    assert "; 1 more · about 4 min 00 s left · not shown" in text
    assert text.endswith("not shown: runs/x: not JSON · refreshed at 12:00:00")
    with use_language("fr"):
        assert "en cours : plain 56, graine 0 (époque 2 sur 10)" in status_line(
            progress, "12:00:00"
        ).replace("\N{NARROW NO-BREAK SPACE}", " ")
