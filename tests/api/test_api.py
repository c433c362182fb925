"""The public Python API has the results of the commands."""

from __future__ import annotations

import inspect
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import resnetlab as rl
from resnetlab.errors import Problem, ResourceError
from resnetlab.shell import split_command
from resnetlab.studies.executors.messages import RunEvent


def test_every_public_name_exists_and_has_a_docstring() -> None:
    assert set(rl.__all__) <= set(dir(rl))
    for name in rl.__all__:
        value = getattr(rl, name)
        assert inspect.getdoc(value), name
    with pytest.raises(AttributeError):
        _ = rl.nothing_of_the_kind


def test_a_study_is_run_and_reloaded_and_its_runs_are_resumed_in_python(
    tmp_path: Path, study_file: Path
) -> None:
    outcome = rl.load_study(study_file, seeds=[0]).run(tmp_path)
    assert outcome.is_finished
    assert outcome.report.exists()
    assert outcome.answer
    records = [study_run.record for study_run in outcome.record.runs]
    assert all(record is not None and record.result is not None for record in records)

    study, plan = rl.open_study(outcome.report.parent)
    assert study.report(plan, tmp_path) == outcome

    assert records[0] is not None
    assert rl.resume(tmp_path / "runs" / records[0].id) == records[0]


def test_workers_do_not_wait_for_a_partial_report(
    tmp_path: Path, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow report is written while runs finish, one at a time, and its error is reported."""
    study = rl.load_study(study_file)
    plan, free, waited = study.plan(tmp_path), threading.Event(), []
    monkeypatch.setattr(
        "resnetlab.api.loaded_study.execute_runs",
        lambda *_: iter([RunEvent("finished", str(k)) for k in range(4)]),
    )
    monkeypatch.setattr(rl.LoadedStudy, "report", lambda *_, **__: waited.append(not free.wait(30)))
    events = study.execute(plan, tmp_path)
    assert [next(events).id for _ in range(4)] == ["0", "1", "2", "3"]
    free.set()
    assert list(events) == []
    assert waited == [False]

    def unreadable(*_: object, **__: object) -> None:
        raise rl.InputError(Problem("train-mode.json", "differs from its SHA-256", "restore it"))

    monkeypatch.setattr(rl.LoadedStudy, "report", unreadable)
    assert len(list(study.execute(plan, tmp_path))) == 4

    def full(*_: object, **__: object) -> None:
        raise ResourceError(Problem("disk", "full", "make room"))

    monkeypatch.setattr(rl.LoadedStudy, "report", full)
    with pytest.raises(ResourceError):
        [time.sleep(0.1) for _ in study.execute(plan, tmp_path)]


def test_a_run_that_cannot_finish_is_reported_with_a_fix(tmp_path: Path, small_npz: Path) -> None:
    with pytest.raises(rl.UnfinishedError, match=r"it was stopped\. Fix: resnetlab resume"):
        rl.train("cifar-plain8", str(small_npz), "adam", output=tmp_path, should_stop=lambda: True)
    with pytest.raises(rl.InputError, match="not a run's folder"):
        rl.resume(tmp_path)


def test_models_recipes_and_data_may_be_given_as_objects(tmp_path: Path, small_npz: Path) -> None:
    from resnetlab.studies.single_run import plan_run

    recipe = rl.Recipe(epochs=3, optimizer=rl.SGD(lr=0.05))
    data = rl.DataConfig(source=str(small_npz), validation=0.2)
    plan = plan_run(rl.cifar_config(14, "B", dropout=0.1), data, recipe, seed=5, output=tmp_path)
    run = plan.runs[0].file.run
    assert (run.model, run.recipe, run.seed) == (rl.cifar_config(14, "B", dropout=0.1), recipe, 5)
    assert run.data.validation == 0.2
    assert plan.runs[0].file.train_images == 96


def test_dir_lists_only_public_names() -> None:
    assert set(dir(rl)) == {*rl.__all__, "__doc__", "__version__"}
    assert rl.__version__[0].isdigit() or rl.__version__ == "source tree"


def test_a_study_from_a_dictionary_equals_the_study_from_its_file(study_file: Path) -> None:
    tables = tomllib.loads(study_file.read_text(encoding="utf-8"))
    assert rl.load_study(tables).study == rl.load_study(study_file).study
    values = tables | {
        "recipe": rl.Recipe(batch_size=16, epochs=2, optimizer=rl.Adam(lr=1e-3)),
        "data": rl.DataConfig(source=tables["data"]),
    }
    assert rl.load_study(values).study == rl.load_study(study_file).study
    with pytest.raises(rl.InputError, match='did you mean "seeds"'):
        rl.load_study(tables | {"seed": 1})


def test_the_command_in_a_report_repeats_a_study_from_a_dictionary(
    tmp_path: Path, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = tomllib.loads(study_file.read_text(encoding="utf-8"))
    tables |= {
        "recipe": rl.Recipe(batch_size=16, epochs=2, optimizer=rl.SGD()),
        "grid": tables["grid"] | {"recipe.optimizer.lr": np.array([0.01, 0.1])},
        "claim": [],
    }
    study = rl.load_study(tables, settings=["recipe.batch_size=20"], seeds=1)
    outcome = study.report(study.plan(tmp_path), tmp_path)
    monkeypatch.chdir(tmp_path)
    command = "resnetlab study run studies/small.toml --set recipe.batch_size=20 --seeds 1"
    assert command in (outcome.report.parent / "report.md").read_text(encoding="utf-8")
    again = rl.load_study("studies/small.toml", settings=["recipe.batch_size=20"], seeds=1)
    assert again.study == study.study
    assert study.plan(tmp_path).resume_command.split()[3] == str(tmp_path / "studies/small.toml")
    spaced = study.plan(tmp_path / "my runs").resume_command
    assert split_command(spaced)[3] == str(tmp_path / "my runs/studies/small.toml")


def test_events_contain_all_evaluations_and_the_end_of_each_run(
    tmp_path: Path, study_file: Path
) -> None:
    study = rl.load_study(study_file, seeds=[0])
    events = list(study.events(tmp_path, workers=1))
    ends = [event for event in events if event.kind == "finished"]
    assert len(ends) == 2
    outcome = study.run(tmp_path, progress=False)
    assert outcome.is_finished
    for study_run in outcome.record.runs:
        assert study_run.record is not None
        seen = [
            e for event in events if event.id == study_run.planned.id for e in event.evaluations
        ]
        assert tuple(seen) == study_run.record.metrics
    assert list(study.runs(tmp_path)) == list(outcome.runs())
    assert list(study.curves(tmp_path)) == list(outcome.curves())
    assert not [event for event in study.events(tmp_path) if event.kind != "idle"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"lrr": [1]}, r'grid: lrr: unknown field. Fix: did you mean "lr"'),
        ({"name": ["a"]}, r"grid: name: the end of several fields. Fix: write recipe"),
        ({"recipe.lr": [1]}, "recipe.lr: unknown field"),
        ({"lr": 0.1}, "not a list of values"),
        ({"lr": []}, "not a list of values"),
    ],
)
def test_a_grid_with_a_mistake_is_refused_in_one_line(
    grid: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(rl.InputError, match=message):
        rl.sweep("cifar-plain8", "digits", "digits", grid=grid, output=tmp_path, progress=False)


def test_each_command_has_a_function_with_the_same_result(tmp_path: Path, small_npz: Path) -> None:
    layers = rl.inspect_model("cifar-resnet8")
    assert sum(layers["parameters"]) == rl.cifar_config(8, "A").cost(3, 10, 32)[0]
    assert rl.inspect_model(rl.cifar_config(8, "A"))["macs"] == layers["macs"]
    audit = rl.check_data(small_npz, output=tmp_path, progress=False)
    assert audit.num_images == 180
    assert "180 images of 3 classes" in repr(audit)
    norms = rl.inspect_gradients("cifar-plain8", str(small_npz), output=tmp_path)
    assert "network" not in norms.columns
    records = [
        rl.train(model, str(small_npz), "adam", output=tmp_path, progress=False)
        for model in ("cifar-plain8", "cifar-resnet8")
    ]
    comparison = rl.compare(records[0].folder, records[1].folder)
    assert repr(comparison).count("\n") >= 2
    blocks = rl.inspect_blocks(records[1].folder)
    assert len(blocks) == 4
    model = rl.load_model(records[0].folder)
    images = [Image.new("L", (8, 8), shade) for shade in (0, 255)]
    predictions = model.predict(images, top=2)
    assert len(predictions.table()) == 2
    assert len(repr(model)) < 300
    assert all(len(repr(prediction)) < 200 for prediction in predictions)
