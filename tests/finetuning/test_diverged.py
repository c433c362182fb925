"""A fine-tuning whose loss stops being finite counts as diverged, and its run has one evaluation
for each epoch, with the last one at its last step.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from helpers.finetuning import make_model, request, stage
from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.finetuning.dataset import load_photographs, open_photographs
from resnetlab.finetuning.finetune_photos import finetune
from resnetlab.finetuning.session import run_finetune_attempt
from resnetlab.finetuning.stage.stage_cache import StageCache, stage_key
from resnetlab.finetuning.stage.state import FinetuneState
from resnetlab.finetuning.stage.train_stage import StageResult, train_stage
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.weights import write_tensors
from resnetlab.recipes.finetune import FinetuneRecipe, Stage
from resnetlab.recipes.numerics import Placement
from resnetlab.recipes.train import Adam, Recipe
from resnetlab.runs.attempt import RunAttempt
from resnetlab.runs.records import Evaluation, Result
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.plan import Plan
from resnetlab.training.round_robin import round_robin

STEPS_PER_EPOCH = 4
"""Batches of 8 of the 30 train photographs."""


def training(**length: int) -> Recipe:
    return Recipe(batch_size=8, optimizer=Adam(lr=0.01), **length)


def make_loss_nan(
    monkeypatch: pytest.MonkeyPatch, in_epoch: int, lrs: tuple[float, ...] = ()
) -> None:
    """Make the loss NaN at the second step of an epoch, counted from 1, and after it.

    With `lrs`, only the losses of these learning rates are changed.
    """
    original = FinetuneState.loss

    def loss(state: FinetuneState, logits: Tensor, labels: Tensor) -> Tensor:
        is_late = state.step >= (in_epoch - 1) * STEPS_PER_EPOCH + 1
        is_chosen = not lrs or state.recipe.optimizer.lr in lrs
        return original(state, logits, labels) * (math.nan if is_late and is_chosen else 1.0)

    monkeypatch.setattr(FinetuneState, "loss", loss)


def study_plan(photos: Path, backbone: Path, root: Path, stages: list[dict[str, Any]]) -> Plan:
    """Return the plan of a study with two test sizes, whose first stages are the same."""
    tables = {
        "name": "sizes",
        "question": "Which size?",
        "data": str(photos),
        "model": str(backbone),
        "seeds": [0],
        "recipe": {"name": "mine", "train_size": 16, "stages": stages},
        "grid": {"recipe.test_size": [16, 24]},
    }
    return LoadedStudy(parse_study(tables, "sizes.toml", Overrides())).plan(root)


def run_all(plan: Plan, root: Path) -> list[tuple[Result, list[Evaluation]]]:
    """Run a plan in this process. Returns the results with the evaluations on validation."""
    photos = load_photographs(plan.runs[0].file.data, root / "cache")
    results = []
    for run in plan.runs:
        attempt = RunAttempt(run.id, run.file, root, Placement(), lambda: False, lambda *_: None)
        ((_, result),) = round_robin([run_finetune_attempt(attempt, photos)])
        assert result is not None
        metrics = RunFolder.find(root, run.id).metrics()
        results.append((result, [line for line in metrics if line.split == "validation"]))
    return results


def test_a_study_run_whose_loss_is_nan_in_a_later_epoch_is_diverged_also_from_the_cache(
    photos: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_loss_nan(monkeypatch, in_epoch=4)
    learning = {"batch_size": 8, "epochs": 6, "optimizer": {"name": "adam", "lr": 0.01}}
    plan = study_plan(photos, backbone, tmp_path, [{"name": "one", "recipe": learning}])
    results = run_all(plan, tmp_path)
    assert len(results) == 2
    assert len(list((tmp_path / "cache" / "stages").glob("*.safetensors"))) == 1
    for result, evaluations in results:
        assert result.status == "diverged"
        assert (
            result.reason == "one: the loss is not finite after epoch 3 at the learning rate 0.01"
        )
        assert result.test is None
        assert [line.epoch for line in evaluations] == [1.0, 2.0, 3.0]
        assert result.step == 3 * STEPS_PER_EPOCH


@pytest.mark.parametrize(
    ("nan_at", "diverged"), [((0.01,), False), ((1e-9,), False), ((0.01, 1e-9), True)]
)
def test_a_stage_is_diverged_if_every_learning_rate_is(
    photos: Path,
    config: ExternalConfig,
    monkeypatch: pytest.MonkeyPatch,
    nan_at: tuple[float, ...],
    diverged: bool,
) -> None:
    """The rate of 1e-9 changes no weight, so that the other one is selected."""
    make_loss_nan(monkeypatch, in_epoch=4, lrs=nan_at)
    data, model = open_photographs(photos, cache=photos.parent / "cache"), make_model(config)
    transforms = {"train": model.eval_transform(24), "test": model.eval_transform(24)}
    two = stage(lrs=(0.01, 1e-9), recipe=training(epochs=5))
    result = train_stage(model, two, data, transforms, 0)
    assert (result.lr, result.complete) == (0.01, True)
    assert result.diverged == diverged
    assert len(result.epochs) == (3 if 0.01 in nan_at else 5)


def test_finetune_names_the_stage_that_diverged_and_uses_its_best_epoch(
    photos: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_loss_nan(monkeypatch, in_epoch=3)
    recipe = FinetuneRecipe(
        name="mine", train_size=24, stages=(Stage(name="one", recipe=training(epochs=5)),)
    )
    lines = list[str]()
    finetuned = finetune(
        request(photos, backbone, recipe=recipe, balance="none"), notify=lines.append
    )
    (record,) = finetuned.result.stages
    assert (record.diverged, record.epochs) == (True, 2)
    sentence = (
        'stage "one" diverged: its loss is not finite after epoch 2; the weights of its epoch '
        f"{record.best_epoch} are kept"
    )
    assert sentence in lines
    assert sentence in finetuned.result.caveats


def test_a_cached_stage_of_a_version_that_did_not_mark_divergence_is_trained_again(
    photos: Path, config: ExternalConfig, tmp_path: Path
) -> None:
    data, model = open_photographs(photos, cache=tmp_path / "cache"), make_model(config)
    cache, transform = StageCache(tmp_path / "stages"), model.eval_transform(24)
    key = stage_key(model, data.sha256, "none").with_stage(stage(), transform)
    trained = list[StageResult]()

    def train() -> StageResult:
        transforms = {"train": transform, "test": transform}
        trained.append(train_stage(model, stage(), data, transforms, 0))
        return trained[-1]

    cache.load_or_train(key, model, train)
    (path,) = cache.folder.glob("*.safetensors")
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["resnetlab"])
    for epoch in (metadata["fitted"]["best"], *metadata["fitted"]["epochs"]):
        del epoch["step"]
    write_tensors(path, load_file(path), {"resnetlab": json.dumps(metadata)})
    cache.load_or_train(key, make_model(config), train)
    cache.load_or_train(key, make_model(config), train)
    assert len(trained) == 2


def test_a_stage_counted_in_steps_ends_with_its_last_step_and_has_each_step_once(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    """Ten steps of four batches an epoch are 2.5 epochs, so the next stage begins there."""
    adam = {"name": "adam", "lr": 0.01}
    stages = [
        {"name": "one", "recipe": {"batch_size": 8, "steps": 10, "optimizer": adam}},
        {
            "name": "two",
            "trainable": "last norm",
            "recipe": {"batch_size": 16, "epochs": 2, "optimizer": adam},
        },
    ]
    plan = study_plan(photos, backbone, tmp_path, stages)
    for result, evaluations in run_all(plan, tmp_path):
        steps = [(line.step, line.epoch) for line in evaluations]
        assert steps == [(4, 1.0), (8, 2.0), (10, 2.5), (12, 3.5), (14, 4.5)]
        assert result.step == 14
        assert result.selected_step in [step for step, _ in steps]
