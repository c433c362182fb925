"""Runs from several machines are collected in one study. Each is checked, none is lost, and the
report equals that of the training machine.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import resnetlab as rl
from resnetlab.checksums import renew_checksum
from resnetlab.errors import InputError
from resnetlab.files import sha256
from resnetlab.runs.damage import check_run
from resnetlab.runs.paths import LOCK, LOGITS, WEIGHTS, check_finished
from resnetlab.runs.recorded_logits import RecordedLogits
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.exchange.collect_runs import (
    UNCHECKED,
    CollectedRun,
    Collection,
    collect_runs,
)
from resnetlab.studies.exchange.export_runs import export_runs
from resnetlab.studies.execution import read_plan, save_plan
from resnetlab.studies.plan import Plan

Machine = Callable[..., Path]


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory, study_text: str) -> Path:
    path = tmp_path_factory.mktemp("study") / "small.toml"
    path.write_text(study_text)
    return path


@pytest.fixture(scope="module")
def train_machine(
    tmp_path_factory: pytest.TempPathFactory,
    study_file: Path,
    train_here: Callable[[Plan, Path], None],
) -> Machine:
    """Return a function that trains the study with some seeds and settings in a folder."""

    def train(name: str, seeds: tuple[int, ...], *settings: str) -> Path:
        root = tmp_path_factory.mktemp(name)
        loaded = rl.load_study(study_file, seeds=seeds, settings=settings)
        plan = loaded.plan(root)
        save_plan(plan, root)
        train_here(plan, root)
        return root

    return train


@pytest.fixture(scope="module")
def first(train_machine: Machine) -> Path:
    """Return the output folder of a machine that trained seeds 0 and 1."""
    return train_machine("first", (0, 1))


@pytest.fixture(scope="module")
def second(train_machine: Machine) -> Path:
    """Return the output folder of a machine that trained seed 2."""
    return train_machine("second", (2,))


def plan_of(root: Path) -> Plan:
    return read_plan(next((root / "studies").iterdir()))


@pytest.fixture
def archive(first: Path, tmp_path: Path) -> Path:
    path = tmp_path / "first.tar.gz"
    export_runs(plan_of(first), first, path, light=True)
    return path


def decisions(collection: Collection) -> dict[str, int]:
    return dict(collection.counts)


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted((root / "runs").rglob("*"))
        if path.is_file() and path.name != LOCK
    }


def test_a_light_archive_contains_no_folder_name_and_no_weights(
    first: Path, archive: Path, tmp_path: Path, small_npz: Path
) -> None:
    with tarfile.open(archive) as tar:
        contents = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    assert len([name for name in contents if name.endswith("result.json")]) == 4
    assert not [name for name in contents if name.endswith(WEIGHTS)]
    for folder in (str(small_npz.parent), str(first), str(tmp_path)):
        assert not [name for name, content in contents.items() if folder.encode() in content]
    again = tmp_path / "again.tar.gz"
    exported = export_runs(plan_of(first), first, again, light=True)
    assert again.read_bytes() == archive.read_bytes()
    assert exported.size / exported.runs < 10_000
    with pytest.raises(InputError, match="exists, and an archive never replaces"):
        export_runs(plan_of(first), first, again, light=True)


def test_the_report_of_collected_runs_equals_the_report_of_the_training_machine(
    first: Path, archive: Path, study_file: Path, tmp_path: Path
) -> None:
    collection = collect_runs([archive], str(study_file), tmp_path)
    assert decisions(collection) == {"joined": 4}
    assert (collection.finished, collection.planned) == (4, 4)
    for root in (first, tmp_path):
        loaded, plan = rl.open_study(next((root / "studies").iterdir()))
        loaded.report(plan, root)
    for name in ("results.csv", "curves.csv"):
        written = (collection.folder / name).read_bytes()
        assert written == (first / "studies" / collection.folder.name / name).read_bytes()
    for run in (tmp_path / "runs").iterdir():
        assert check_run(run).damage == ()
        with pytest.raises(InputError, match=r"is finished, but has no weights\.safetensors"):
            check_finished(run)


def test_a_study_collects_seeds_from_another_machine_and_later_their_weights(
    first: Path, second: Path, archive: Path, study_file: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    collect_runs([archive], str(study_file), here)
    collection = collect_runs([second, archive], str(study_file), here)
    assert decisions(collection) == {"joined": 2, "already here": 4}
    assert collection.notes == (f"{second}: its plan adds seed 2",)
    assert plan_of(here).study.seeds == (0, 1, 2)
    assert (collection.finished, collection.planned) == (6, 6)
    full = tmp_path / "full.tar.gz"
    export_runs(plan_of(first), first, full)
    assert decisions(collect_runs([full], str(study_file), here)) == {"weights added": 4}
    for run in plan_of(first).runs:
        check_finished(here / "runs" / run.id)
    before = files_of(here)
    assert decisions(collect_runs([full, second], str(study_file), here)) == {"already here": 6}
    assert files_of(here) == before


def test_a_folder_of_archives_is_read_like_its_archives(
    archive: Path, second: Path, study_file: Path, tmp_path: Path
) -> None:
    export_runs(plan_of(second), second, tmp_path / "second.tar.gz", light=True)
    collection = collect_runs([archive.parent], str(study_file), tmp_path / "here")
    assert decisions(collection) == {"joined": 6}


def copy_of(root: Path, target: Path) -> Path:
    shutil.copytree(root / "runs", target)
    return target


def edit(run: Path, name: str, old: str, new: str) -> None:
    text = (run / name).read_text()
    assert old in text
    (run / name).write_text(text.replace(old, new, 1))


def collect_one(run: Path, first: Path, tmp_path: Path) -> CollectedRun:
    """Collect one run into a study of which nothing is here but the plan."""
    here = tmp_path / "here"
    save_plan(plan_of(first), here)
    (collected,) = collect_runs([run], str(next((here / "studies").iterdir())), here).runs
    if collected.decision != "joined":
        assert not (here / "runs" / run.name / "result.json").exists()
    return collected


def test_a_forged_accuracy_is_detected_with_the_logits(first: Path, tmp_path: Path) -> None:
    run = sorted(copy_of(first, tmp_path / "copy").iterdir())[0]
    result = json.loads((run / "result.json").read_text())
    result["test"]["top1_error_pct"] -= 5
    (run / "result.json").write_text(json.dumps(result))
    renew_checksum(run, "result.json")
    collected = collect_one(run, first, tmp_path)
    assert collected.decision == "damaged"
    assert "test accuracy" in collected.reason
    assert "the recorded logits give" in collected.reason


@pytest.mark.parametrize("name", ["metrics.jsonl", "result.json", "provenance.jsonl"])
def test_a_changed_file_is_detected_by_its_checksum(first: Path, tmp_path: Path, name: str) -> None:
    run = sorted(copy_of(first, tmp_path / "copy").iterdir())[0]
    edit(run, name, "0", "1")
    collected = collect_one(run, first, tmp_path)
    assert collected.decision == "damaged"
    assert "differs from its SHA-256" in collected.reason


def test_swapped_weights_are_detected(first: Path, tmp_path: Path) -> None:
    one, other = sorted(copy_of(first, tmp_path / "copy").iterdir())[:2]
    shutil.copy(other / WEIGHTS, one / WEIGHTS)
    collected = collect_one(one, first, tmp_path)
    assert collected.decision == "damaged"
    assert collected.reason == "weights.safetensors differs from its SHA-256 in result.json"


def test_a_run_folder_without_weights_is_collected_like_a_light_archive(
    first: Path, tmp_path: Path
) -> None:
    run = sorted(copy_of(first, tmp_path / "copy").iterdir())[0]
    (run / WEIGHTS).unlink()
    assert collect_one(run, first, tmp_path).decision == "joined"
    assert check_run(tmp_path / "here" / "runs" / run.name).damage == ()


def test_an_unfinished_run_is_not_collected(first: Path, tmp_path: Path) -> None:
    run = sorted(copy_of(first, tmp_path / "copy").iterdir())[0]
    (run / "result.json").unlink()
    assert collect_one(run, first, tmp_path).decision == "not finished"


def test_a_run_with_another_protocol_is_not_collected_and_the_difference_is_reported(
    first: Path, train_machine: Machine, tmp_path: Path
) -> None:
    other = train_machine("other", (0,), "recipe.epochs=1")
    here = tmp_path / "here"
    save_plan(plan_of(first), here)
    collection = collect_runs([other], str(next((here / "studies").iterdir())), here)
    assert {run.decision for run in collection.runs} == {"not of the study"}
    assert {run.reason for run in collection.runs} == {"recipe.epochs is 1, in the study 2"}
    assert len(collection.notes) == 1
    assert "has other conditions, claims or settings" in collection.notes[0]


def test_a_run_of_a_seed_that_is_not_planned_is_reported_with_all_planned_seeds(
    first: Path, second: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    save_plan(plan_of(first), here)
    name = str(next((here / "studies").iterdir()))
    collection = collect_runs([second / "runs"], name, here)
    assert {run.reason for run in collection.runs} == {"seed is 2, in the study 0, 1"}


def test_a_run_without_checksums_joins_with_a_sentence_about_the_checks(
    first: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(first, root)
    (run, other, *_) = sorted((root / "runs").iterdir())
    (run / "checksums.json").unlink()
    folder = next((root / "studies").iterdir())
    collection = collect_runs([run, other], str(folder), tmp_path / "here")
    assert [one.decision for one in collection.runs] == ["joined", "joined"]
    assert [one.reason for one in collection.runs] == [UNCHECKED, ""]


def test_another_result_of_the_same_run_is_reported_and_the_local_one_stays(
    first: Path, study_file: Path, archive: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    collect_runs([archive], str(study_file), here)
    run = sorted(copy_of(first, tmp_path / "copy").iterdir())[0]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    changed = json.loads(lines[-1])
    changed["loss_nats"] += 0.001
    (run / "metrics.jsonl").write_text("\n".join([*lines[:-1], json.dumps(changed)]) + "\n")
    renew_checksum(run, "metrics.jsonl")
    before = files_of(here)
    (collected,) = collect_runs([run], str(study_file), here).runs
    assert collected.decision == "other result"
    assert collected.reason.endswith("the run that is here stays")
    assert files_of(here) == before


def test_the_same_run_under_another_name_of_the_data_is_already_here(
    first: Path, study_file: Path, archive: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    collect_runs([archive], str(study_file), here)
    run = sorted(copy_of(first, tmp_path / "copy").iterdir())[0]
    save_file(load_file(run / WEIGHTS), run / WEIGHTS, {"data": "another name"})
    result = json.loads((run / "result.json").read_text())
    assert result["weights_sha256"] != sha256(run / WEIGHTS)
    result["weights_sha256"] = sha256(run / WEIGHTS)
    (run / "result.json").write_text(json.dumps(result))
    for name in (WEIGHTS, "result.json"):
        renew_checksum(run, name)
    before = files_of(here)
    assert decisions(collect_runs([run], str(study_file), here)) == {"already here": 1}
    assert files_of(here) == before, "weights that its result does not name are not added"


def test_the_folder_that_an_export_names_need_not_exist(first: Path, tmp_path: Path) -> None:
    folder = next((first / "studies").iterdir()).name
    archive = tmp_path / "first.tar.gz"
    export_runs(plan_of(first), first, archive, light=True)
    collection = collect_runs([archive], f"studies/{folder}", tmp_path / "here")
    assert decisions(collection) == {"joined": 4}
    assert collection.folder == tmp_path / "here" / "studies" / folder


def test_a_second_archive_joins_the_study_by_the_folder_that_an_export_names(
    first: Path, second: Path, archive: Path, tmp_path: Path
) -> None:
    other = tmp_path / "second.tar.gz"
    export_runs(plan_of(second), second, other, light=True)
    here = tmp_path / "here"
    (folder,) = (first / "studies").iterdir()
    elsewhere = f"machine/studies/{folder.name}"
    collect_runs([archive], elsewhere, here)
    assert decisions(collect_runs([other], elsewhere, here)) == {"joined": 2}


def test_runs_of_a_study_file_that_is_not_here_join_by_the_name_of_the_study(
    first: Path, archive: Path, tmp_path: Path
) -> None:
    name = plan_of(first).study.name
    assert decisions(collect_runs([archive], name, tmp_path / "here")) == {"joined": 4}


def test_a_run_that_is_being_trained_here_is_not_replaced(
    first: Path, archive: Path, study_file: Path, tmp_path: Path
) -> None:
    run = plan_of(first).runs[0].id
    folder = tmp_path / "here" / "runs" / run
    folder.mkdir(parents=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        collection = collect_runs([archive], str(study_file), tmp_path / "here")
    assert decisions(collection) == {"joined": 3, "running here": 1}
    assert sorted(path.name for path in folder.iterdir()) == [LOCK]


def test_a_run_that_ends_here_during_the_collection_is_not_replaced(
    first: Path, archive: Path, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process finishes the run, with another result, before its lock is acquired."""
    here, run = tmp_path / "here", plan_of(first).runs[0].id
    original = RunFolder.lock

    @contextmanager
    def lock(folder: RunFolder) -> Iterator[bool]:
        if folder.path.name == run:
            shutil.copytree(first / "runs" / run, folder.path, dirs_exist_ok=True)
            edit(folder.path, "metrics.jsonl", '"loss_nats":', '"loss_nats":1')
            renew_checksum(folder.path, "metrics.jsonl")
        with original(folder) as acquired:
            yield acquired

    monkeypatch.setattr(RunFolder, "lock", lock)
    collection = collect_runs([archive], str(study_file), here)
    assert decisions(collection) == {"joined": 3, "other result": 1}
    metrics = [(root / "runs" / run / "metrics.jsonl").read_text() for root in (first, here)]
    assert metrics[0] != metrics[1]


def test_an_interrupted_copy_leaves_no_finished_run_and_continues(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sorted((first / "runs").iterdir())[0]
    here = tmp_path / "here"
    save_plan(plan_of(first), here)
    study = str(next((here / "studies").iterdir()))
    copied = len(files_of(first)) // 4

    original, calls = shutil.copyfileobj, 0

    def copy(source: BinaryIO, target: BinaryIO) -> None:
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise InterruptedError
        original(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    for number in range(copied - 1):  # checksums.json is written, not copied
        calls = number
        with pytest.raises(InterruptedError):
            collect_runs([run], study, here)
        assert not (here / "runs" / run.name / "result.json").exists()
    monkeypatch.undo()
    assert decisions(collect_runs([run], study, here)) == {"joined": 1}
    expected = {name: content for name, content in files_of(first).items() if run.name in name}
    assert files_of(here) == expected


def test_sources_without_runs_and_studies_without_a_plan_are_refused(
    first: Path, study_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no run in it \(no file run\.json\)"):
        collect_runs([tmp_path / "empty"], str(study_file), tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        collect_runs([tmp_path / "absent"], str(study_file), tmp_path)
    with pytest.raises(InputError, match="not an archive of runs"):
        collect_runs([study_file], str(study_file), tmp_path)
    run = sorted((first / "runs").iterdir())[0]
    with pytest.raises(InputError, match="was not started here, and no source has a plan of it"):
        collect_runs([run], str(study_file), tmp_path)


def test_half_precision_preserves_each_predicted_class_and_the_rounded_loss() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 5, (2000, 10)).astype(np.float32)
    logits[:, 1] = logits[:, 0] * np.float32(1 + 1e-5)  # equal in half precision
    labels = generator.integers(0, 10, 2000)
    single = RecordedLogits(logits, labels)
    half = single.in_half_precision()
    assert half.logits.dtype == np.float16
    assert (logits.astype(np.float16).argmax(1) != logits.argmax(1)).any()
    assert (half.logits.argmax(1) == logits.argmax(1)).all()
    assert half.top1_error_pct == single.top1_error_pct
    assert half.loss_nats == pytest.approx(single.loss_nats, abs=2e-3)
    huge = RecordedLogits(logits * np.float32(1e5), labels)
    assert huge.in_half_precision() is huge


def test_edited_logits_of_an_archive_contradict_the_accuracy(
    archive: Path, first: Path, tmp_path: Path
) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    run = sorted((tmp_path / "unpacked" / "runs").iterdir())[0]
    tensors = load_file(run / LOGITS)
    tensors["logits"] = tensors["logits"][:, ::-1].copy()
    save_file(tensors, run / LOGITS)
    renew_checksum(run, LOGITS)
    collected = collect_one(run, first, tmp_path)
    assert collected.decision == "damaged"
    assert str(tmp_path / "unpacked") not in collected.reason
