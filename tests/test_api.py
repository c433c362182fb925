"""The public API does what the commands do."""

from __future__ import annotations

import inspect
import threading
import time
from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab.errors import Problem, ResourceError
from resnetlab.studies.executors.base import RunEvent


def test_every_public_name_is_there_and_explains_itself() -> None:
    assert set(rl.__all__) <= set(dir(rl))
    for name in rl.__all__:
        value = getattr(rl, name)
        assert inspect.getdoc(value), name
    with pytest.raises(AttributeError):
        _ = rl.nothing_of_the_kind


def test_a_study_is_run_read_again_and_its_runs_resumed_from_python(
    tmp_path: Path, study_file: Path
) -> None:
    outcome = rl.load_study(study_file, seeds=[0]).run(tmp_path)
    assert outcome.finished
    assert outcome.report.exists()
    assert outcome.answer
    records = [cell.record for cell in outcome.record.runs]
    assert all(record is not None and record.result is not None for record in records)

    study, plan = rl.open_study(outcome.report.parent)
    assert study.report(plan, tmp_path) == outcome

    assert records[0] is not None
    assert rl.resume(tmp_path / "runs" / records[0].id) == records[0]


def test_no_worker_waits_for_a_partial_report(
    tmp_path: Path, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow report is written while runs finish, one at a time, and its error is reported."""
    study = rl.load_study(study_file)
    plan, free, waited = study.plan(tmp_path), threading.Event(), []
    monkeypatch.setattr(
        "resnetlab.loaded_study.execute_runs",
        lambda *_: iter([RunEvent("finished", str(k)) for k in range(4)]),
    )
    monkeypatch.setattr(rl.LoadedStudy, "report", lambda *_: waited.append(not free.wait(30)))
    events = study.execute(plan, tmp_path)
    assert [next(events).id for _ in range(4)] == ["0", "1", "2", "3"]
    free.set()
    assert list(events) == []
    assert waited == [False]

    def full(*_: object) -> None:
        raise ResourceError(Problem("disk", "full", "make room"))

    monkeypatch.setattr(rl.LoadedStudy, "report", full)
    with pytest.raises(ResourceError):
        [time.sleep(0.1) for _ in study.execute(plan, tmp_path)]


def test_a_run_that_cannot_be_done_says_why_and_how_to_go_on(
    tmp_path: Path, small_npz: Path
) -> None:
    with pytest.raises(rl.UnfinishedError, match=r"it was stopped\. Fix: resnetlab resume"):
        rl.train("cifar-plain8", str(small_npz), "adam", output=tmp_path, should_stop=lambda: True)
    with pytest.raises(rl.InputError, match="not a run's folder"):
        rl.resume(tmp_path)


def test_models_recipes_and_data_may_be_given_as_values(tmp_path: Path, small_npz: Path) -> None:
    from resnetlab.studies.single_run import plan_run

    recipe = rl.Recipe(epochs=3, optimizer=rl.SGD(lr=0.05))
    data = rl.DataConfig(source=str(small_npz), validation=0.2)
    plan = plan_run(rl.cifar_config(14, "B", dropout=0.1), data, recipe, seed=5, output=tmp_path)
    run = plan.runs[0].file.run
    assert (run.model, run.recipe, run.seed) == (rl.cifar_config(14, "B", dropout=0.1), recipe, 5)
    assert run.data.validation == 0.2
    assert plan.runs[0].file.train_images == 96
