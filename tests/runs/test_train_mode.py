"""Evaluation in training mode equals a calculation by hand, also after a stop or a later request,
and changes no bit of the training and of the usual evaluation.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import resnetlab as rl
from helpers.small_run import SmallRun
from resnetlab.runs.damage import check_run
from resnetlab.runs.load import load_run
from resnetlab.runs.measurements import RunMeasurements
from resnetlab.runs.paths import TRAIN_MODE
from resnetlab.runs.records import Evaluation
from resnetlab.stats.chance import UNDECIDED
from resnetlab.training.rng import make_generator

pytestmark = pytest.mark.usefixtures("tick_after_every_step")
REQUESTED = rl.DiagnosticsConfig(train_mode=True)
BATCH_SIZE = 16
FIXED = (f"recipe.batch_size={BATCH_SIZE}", "recipe.epochs=2", "data.test_curve=true")
SELECTED = ("recipe.ema=0.9", "recipe.select=best", "data.validation=0.2", "data.curve_images=20")
SPLITS = ("train", "validation", "test")


class Run(SmallRun):
    """A small residual network under a root of its own."""

    def __init__(
        self,
        data: Path,
        root: Path,
        diagnostics: rl.DiagnosticsConfig = REQUESTED,
        *settings: str,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(data, root, *FIXED, *settings, diagnostics=diagnostics, dropout=dropout)

    def evaluation(self) -> dict[str, Any]:
        """Return the file of the evaluation in training mode, without the times of its curve."""
        text = (self.run_folder.path / TRAIN_MODE).read_text()
        table: dict[str, Any] = json.loads(text)
        for line in table["curve"]:
            del line["seconds"]
        return table

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl without their times."""
        text = (self.run_folder.path / "metrics.jsonl").read_text()
        return [json.loads(line) | {"seconds": 0} for line in text.splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, small_npz: Path) -> Run:
    """Return a run that was never stopped, which tests only read."""
    run = Run(small_npz, tmp_path_factory.mktemp("whole"))
    run()
    return run


@pytest.mark.parametrize("settings", [(), SELECTED])
def test_evaluation_in_training_mode_changes_no_bit_of_the_run(
    tmp_path: Path, small_npz: Path, settings: tuple[str, ...]
) -> None:
    both = Run(small_npz, tmp_path / "both", REQUESTED, *settings)
    alone = Run(small_npz, tmp_path / "alone", rl.DiagnosticsConfig(), *settings)
    results = [run() for run in (both, alone)]
    assert both.run_folder.path.name == alone.run_folder.path.name
    assert results[0]
    assert results[1]
    unclocked: dict[str, Any] = {
        "train_seconds": 0.0,
        "evaluation_seconds": 0.0,
        "images_per_second": 0.0,
    }
    assert replace(results[0], **unclocked) == replace(results[1], **unclocked)
    assert both.metrics() == alone.metrics()
    logits = "logits-test.safetensors"
    assert (both.run_folder.path / logits).read_bytes() == (
        alone.run_folder.path / logits
    ).read_bytes()
    assert not (alone.run_folder.path / "diagnostics").exists()


def test_scores_in_training_mode_equal_a_loop_written_out(tmp_path: Path, small_npz: Path) -> None:
    run = Run(small_npz, tmp_path, dropout=0.0)
    result = run()
    loaded = load_run(run.run_folder, run.file, run.dataset)
    images, model = loaded.test_images(), loaded.state.model
    order = torch.randperm(len(images), generator=make_generator(0, "evaluation"))
    model.train()
    losses, wrong = [], 0
    for start in range(0, len(images), BATCH_SIZE):
        batch = order[start : start + BATCH_SIZE]
        with torch.no_grad():
            logits = model(loaded.state.preprocess(images.pixels[batch])).double()
        labels = images.labels[batch]
        losses.append(F.cross_entropy(logits, labels, reduction="sum"))
        wrong += int((logits.argmax(1) != labels).sum())
    scores = run.evaluation()["test"]
    assert scores["images"] == len(images) == 60
    assert scores["loss_nats"] == pytest.approx(float(sum(losses)) / 60, rel=1e-6)
    assert scores["top1_error_pct"] == pytest.approx(100 * wrong / 60)
    assert result
    assert result.test
    assert scores["loss_nats"] != pytest.approx(result.test.loss_nats, rel=1e-3)


def test_the_curve_has_each_epoch_and_ends_with_the_final_scores(uninterrupted: Run) -> None:
    evaluation = uninterrupted.evaluation()
    assert [(line["epoch"], line["split"]) for line in evaluation["curve"]] == [
        (epoch, split) for epoch in (0, 1, 2) for split in SPLITS
    ]
    for line in evaluation["curve"][-3:]:
        scores = evaluation[line["split"]]
        assert (line["loss_nats"], line["top1_error_pct"]) == (
            scores["loss_nats"],
            scores["top1_error_pct"],
        )
    record = uninterrupted.run_folder.record()
    assert record
    train_mode = record.evaluated_in("train")
    assert train_mode.result
    assert train_mode.result.test == record.train_mode.test  # type: ignore[union-attr]
    assert {line.split for line in train_mode.metrics} == {*SPLITS, "train epoch"}
    assert record.evaluated_in("eval") == record


def test_a_stopped_run_ends_with_the_evaluations_of_an_uninterrupted_one(
    uninterrupted: Run, tmp_path: Path, small_npz: Path
) -> None:
    steps = uninterrupted.file.run.recipe.steps_per_epoch(uninterrupted.file.train_images)
    for stop in (steps, steps + 1):
        broken = Run(small_npz, tmp_path / f"broken-{stop}")
        assert broken(until=stop) is None
        assert broken.evaluation()["test"] is None
        broken()
        assert broken.evaluation() == uninterrupted.evaluation()
        assert broken.metrics() == uninterrupted.metrics()


class Killed(BaseException):
    """End of a process at once: nothing handles it and nothing more is written."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_during_a_write_has_every_evaluation_exactly_once(
    uninterrupted: Run, tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    broken = Run(small_npz, tmp_path / "broken")
    append = RunMeasurements.append_train_mode

    def append_and_die(measurements: RunMeasurements, *lines: Evaluation) -> None:
        if when == "before" and any(line.epoch == 1 for line in lines):
            raise Killed
        append(measurements, *lines)
        if any(line.epoch == 1 for line in lines):
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RunMeasurements, "append_train_mode", append_and_die)
        with pytest.raises(Killed):
            broken()
    written = {line["epoch"] for line in broken.evaluation()["curve"]}
    assert written == ({0} if when == "before" else {0, 1})
    broken()
    assert broken.evaluation() == uninterrupted.evaluation()
    assert broken.metrics() == uninterrupted.metrics()


def test_a_run_that_starts_again_removes_its_evaluations(tmp_path: Path, small_npz: Path) -> None:
    run = Run(small_npz, tmp_path)
    steps = run.file.run.recipe.steps_per_epoch(run.file.train_images)
    run(until=steps + 1)
    assert {line["epoch"] for line in run.evaluation()["curve"]} == {0, 1}
    run(until=1, from_step=0)
    assert {line["epoch"] for line in run.evaluation()["curve"]} == {0}


@pytest.mark.parametrize("settings", [(), SELECTED])
def test_a_finished_run_is_evaluated_with_the_same_bits_and_not_trained_again(
    tmp_path: Path, small_npz: Path, settings: tuple[str, ...]
) -> None:
    run = Run(small_npz, tmp_path / "later", rl.DiagnosticsConfig(), *settings)
    result = run()
    assert result
    requested = replace(run.file, diagnostics=REQUESTED)
    assert run.run_folder.needs_work(requested)
    assert not run.run_folder.needs_work(run.file)
    record = run.run_folder.record()
    assert record
    assert record.evaluated_in("train").result is None
    before = (run.run_folder.path / "metrics.jsonl").read_bytes()
    assert run(file=requested) == result
    assert (run.run_folder.path / "metrics.jsonl").read_bytes() == before
    assert not run.run_folder.needs_work(requested)
    at_once = Run(small_npz, tmp_path / "at-once", REQUESTED, *settings)
    at_once()
    later, expected = run.evaluation(), at_once.evaluation()
    assert {split: later[split] for split in SPLITS} == {split: expected[split] for split in SPLITS}
    assert later["curve"] == []
    assert check_run(run.run_folder.path).damage == ()


def test_the_status_of_a_mode_follows_from_its_own_evaluations(
    tmp_path: Path, small_npz: Path
) -> None:
    run = Run(small_npz, tmp_path, REQUESTED, "recipe.epochs=1", "recipe.optimizer.lr=0.01")
    result = run()
    record = run.run_folder.record()
    assert record
    assert result
    in_train_mode = record.evaluated_in("train").result
    assert in_train_mode
    assert (result.status, in_train_mode.status) == ("at chance", "trained")  # after eight steps
    assert (bool(result.reason), in_train_mode.reason) == (True, "")
    diverged = replace(record, result=replace(result, status="diverged", test=None))
    assert diverged.evaluated_in("train").result == diverged.result


def test_a_damaged_file_is_reported_with_a_fix_that_works(tmp_path: Path, small_npz: Path) -> None:
    run = Run(small_npz, tmp_path)
    run()
    path, expected = run.run_folder.path / TRAIN_MODE, run.evaluation()
    result = run.run_folder.path / "result.json"
    path.write_text('{"curve": 1}')
    damage = [item for item in check_run(run.run_folder.path).damage if item.kind == "unreadable"]
    assert [item.path for item in damage] == [str(path)]
    assert damage[0].fix == (  # its curve was recorded while the run trained
        f"remove {path} {result}, then: resnetlab resume {run.run_folder.path} --from-step 0"
    )
    path.unlink()
    result.unlink()
    run(from_step=0)
    assert run.evaluation() == expected
    assert check_run(run.run_folder.path).damage == ()


def test_a_damaged_file_of_an_unfinished_run_is_reported_with_a_fix_that_works(
    tmp_path: Path, small_npz: Path
) -> None:
    run, uninterrupted = Run(small_npz, tmp_path), Run(small_npz, tmp_path / "uninterrupted")
    uninterrupted()
    assert run(until=8) is None
    path = run.run_folder.path / TRAIN_MODE
    assert path.exists()
    path.write_text('{"curve": 1}')
    damage = [item for item in check_run(run.run_folder.path).damage if item.path == str(path)]
    assert [item.fix for item in damage] == [
        f"remove {path}, then: resnetlab resume {run.run_folder.path} --from-step 0"
    ]
    path.unlink()
    run(from_step=0)
    assert run.evaluation() == uninterrupted.evaluation()


def test_a_late_request_is_decided_by_the_images_of_the_test_split(
    tmp_path: Path, small_npz: Path
) -> None:
    """Without a curve in training mode, the test result and its number of images count."""
    rates = ("data.validation=0.5", "recipe.optimizer.lr=1e-9")
    assert Run(small_npz, tmp_path, rl.DiagnosticsConfig(), *rates)()
    late = Run(small_npz, tmp_path, REQUESTED, *rates)
    assert late()
    evaluation = late.evaluation()
    assert evaluation["curve"] == []
    count = len(late.dataset.test)
    assert evaluation["status"] == "at chance" or str(UNDECIDED) in evaluation["reason"]
    assert f"% of {count} test images" in evaluation["reason"]
