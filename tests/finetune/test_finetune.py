"""Fine-tuning makes a usable model folder from a folder of photographs, with the same bits each
time, and does not choose by the test split.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from helpers.finetuning import CPU, make_model, request, stage
from helpers.processes import environment
from helpers.texture_photographs import KINDS, QUICK, folder, texture
from resnetlab.cli.finetune.output import summary_lines
from resnetlab.data.device_images import DeviceImages
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.data.transforms.photo_train import Augmentation
from resnetlab.errors import InputError
from resnetlab.finetune.dataset import PhotoDataset, PhotoSplit, open_photographs
from resnetlab.finetune.evaluation import compare, predict_photos
from resnetlab.finetune.finetune_photos import cross_validate, finetune, folder_name, prepare_job
from resnetlab.finetune.job import balanced_class_weights
from resnetlab.finetune.network.backbones import (
    DOWNLOAD_MEGABYTES,
    PREFERRED_MODELS,
    PREFERRED_ON_CPU,
)
from resnetlab.finetune.network.grad_checkpointing import grad_checkpointing
from resnetlab.finetune.network.model import FinetuneModel
from resnetlab.finetune.pipeline import StoppedError
from resnetlab.finetune.request import FinetuneRequest
from resnetlab.finetune.stage.stage_cache import StageCache, stage_key
from resnetlab.finetune.stage.state import FinetuneState
from resnetlab.finetune.stage.train_stage import (
    EpochResult,
    LrResult,
    select_lr,
    smoothed_loss,
    train_stage,
)
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.photo_predictions import SplitPredictions
from resnetlab.recipes.finetune import (
    FinetuneRecipe,
    Trainable,
    finetune_recipe_names,
    load_finetune_recipe,
)
from resnetlab.recipes.train import Adam, Recipe
from resnetlab.training.evaluate import evaluate
from resnetlab.training.step import forward_backward


def open_data(photos: Path) -> PhotoDataset:
    return open_photographs(photos, cache=photos.parent / "cache")


def batch_norm(model: FinetuneModel) -> torch.nn.BatchNorm2d:
    """Return the last batch norm of the network."""
    norm = model.model.get_submodule("blocks.1.norm2")
    assert isinstance(norm, torch.nn.BatchNorm2d)
    return norm


def running_mean(norm: torch.nn.BatchNorm2d) -> torch.Tensor:
    """Return the running mean of a batch norm (C,)."""
    assert norm.running_mean is not None
    return norm.running_mean


def transforms(model: FinetuneModel) -> dict[str, EvalTransform]:
    return {"train": model.eval_transform(24), "test": model.eval_transform(24)}


def test_a_folder_is_fine_tuned_into_a_model_that_loads_and_classifies(
    photos: Path, backbone: Path
) -> None:
    messages: list[str] = []
    done = finetune(request(photos, backbone, recipe="probe"), notify=messages.append)
    assert sorted(path.name for path in done.model_folder.iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]
    loaded_model = load_model_folder(done.model_folder)
    assert loaded_model.file.classes == KINDS
    assert loaded_model.file.license.name == "Apache-2.0"
    assert [metric.split for metric in loaded_model.file.metrics] == ["validation", "test"]
    transform = loaded_model.file.eval_transform
    with torch.no_grad():
        right = 0
        for number, kind in enumerate(KINDS):
            for seed in range(5):
                pixels = apply_eval_transform(texture(kind, 900 + seed), transform)
                images = (torch.from_numpy(pixels).float() / 255 - 0.5).permute(2, 0, 1)[None] / 0.5
                right += int(loaded_model.module(images).argmax() == number)
    assert right >= 12
    assert done.result.test.images == 18
    assert done.result.test.low_pct < done.result.test.accuracy_pct <= done.result.test.high_pct
    assert done.result.test.accuracy_pct > done.result.chance_pct + 20
    assert "usable from now on" in " ".join(messages)
    assert json.loads((done.report_folder / "finetune.json").read_text())["test"]["images"] == 18


@pytest.mark.parametrize("trainable", ["classifier", "last norm", "all", 2])
@pytest.mark.parametrize("augment", ["none", "standard", "trivial", "test-like"])
def test_a_repeated_stage_has_the_same_bits_for_any_number_of_decoding_threads(
    photos: Path,
    config: ExternalConfig,
    trainable: Trainable,
    augment: Augmentation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = open_data(photos)
    states = []
    for workers in (1, 5):
        model = make_model(config)
        monkeypatch.setattr(
            "resnetlab.data.photo_loader.default_workers", lambda workers=workers: workers
        )
        train_stage(model, stage(trainable=trainable, augment=augment), data, transforms(model), 3)
        states.append({name: tensor.clone() for name, tensor in model.model.state_dict().items()})
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    fresh = make_model(config).model.state_dict()
    changed = {
        name.split(".")[0]
        for name, tensor in states[0].items()
        if not torch.equal(tensor, fresh[name])
    }
    expected = {
        "classifier": {"head"},
        "last norm": {"head", "blocks"},
        "all": {"head", "blocks", "stem", "norm"},
    }
    assert changed == expected.get(str(trainable), {"head", "blocks"})


def test_constant_features_give_the_predictions_of_the_whole_network(
    photos: Path, config: ExternalConfig
) -> None:
    data, model = open_data(photos), make_model(config)
    transform = model.eval_transform(24)
    expected = torch.from_numpy(
        predict_photos(model.model, data.test, transform, CPU).probabilities
    )
    parts: tuple[Trainable, ...] = ("classifier", "last norm", 2)
    for trainable in parts:
        partitioned = model.partition_for_training(trainable, 24)
        rows = model.features_or_pixels(partitioned, data.test, transform)
        assert rows.pixels.dtype == torch.float32
        scored = evaluate(partitioned.trainable_part, partitioned.trainable_part, rows)
        torch.testing.assert_close(
            torch.softmax(scored.logits.double(), 1), expected, rtol=0, atol=1e-5
        )


def test_training_on_constant_features_equals_training_on_the_photographs(
    photos: Path, config: ExternalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal steps with the frozen part computed each time: predictions differ by less than 1e-5."""

    def fresh(_: object, part: PhotoSplit, transform: EvalTransform) -> DeviceImages:
        return DeviceImages(
            torch.from_numpy(part.stack(lambda image: apply_eval_transform(image, transform))),
            torch.from_numpy(part.labels),
        )

    data, results = open_data(photos), []
    for cached in (True, False):
        model = make_model(config)
        if not cached:
            monkeypatch.setattr(model, "features_or_pixels", fresh)
            monkeypatch.setattr(model.feature_cache, "add", lambda *_: None)
        train_stage(model, stage(augment="none"), data, transforms(model), 0)
        results.append(
            predict_photos(model.model, data.test, model.eval_transform(24), CPU).probabilities
        )
    assert np.abs(results[0] - results[1]).max() < 1e-5


def test_a_network_that_cannot_be_split_is_trained_completely_with_the_same_result(
    photos: Path, config: ExternalConfig
) -> None:
    data, results = open_data(photos), []
    for source in ("helpers.user_network:tiny", "helpers.user_network:asking"):
        model = make_model(replace(config, source=source))
        assert (model.partition_for_training("classifier", 24).frozen_part is None) == (
            source == "helpers.user_network:asking"
        )
        train_stage(model, stage(augment="standard"), data, transforms(model), 0)
        results.append(
            predict_photos(model.model, data.test, model.eval_transform(24), CPU).probabilities
        )
    assert np.abs(results[0] - results[1]).max() < 1e-5


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_statistics_of_a_frozen_network_change_in_training_mode_but_not_in_evaluation_mode(
    photos: Path, config: ExternalConfig, tmp_path: Path, mode: Literal["eval", "train"]
) -> None:
    """The convolutions keep their bits in both; the cache of stages returns what was trained."""
    data, model = open_data(photos), make_model(config)
    before = model.clone_state()
    trained = stage(frozen_mode=mode)
    cache = StageCache(tmp_path / "stages")
    key = stage_key(model, data.sha256, "none").with_stage(trained, model.eval_transform(24))
    cache.load_or_train(key, model, lambda: train_stage(model, trained, data, transforms(model), 0))
    after = model.clone_state()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in before if "running_" in name or "num_batches" in name}
    head = {name for name in changed if name not in statistics}
    assert statistics
    assert changed & statistics == (statistics if mode == "train" else set())
    assert len(head) == 2  # weight and bias of the new classifier
    again = make_model(config)
    cache.load_or_train(key, again, lambda: pytest.fail("it is in the cache"))
    assert all(torch.equal(tensor, after[name]) for name, tensor in again.clone_state().items())


def test_gradient_accumulation_gives_the_gradient_of_the_whole_batch(
    photos: Path, config: ExternalConfig
) -> None:
    data, model = open_data(photos), make_model(config)
    transform, gradients = model.eval_transform(24), []
    for pieces in (1, 3):
        partitioned = model.partition_for_training("classifier", 24)
        settings = stage(grad_accum_steps=pieces)
        train_state = FinetuneState(
            model,
            partitioned,
            settings,
            settings.recipe,
            transform,
            0,
            data.train,
            balanced_class_weights(data.train.labels, 3),
        )
        partitioned.trainable_part.eval()  # without dropout
        rows = torch.randn(7, 12, generator=torch.Generator().manual_seed(0))
        train_state.optimizer.zero_grad()
        loss, logits = forward_backward(train_state, rows, torch.tensor([0, 1, 2, 0, 1, 2, 0]), 7)
        grad = model.model.get_parameter("head.weight").grad
        assert grad is not None
        gradients.append((loss.clone(), logits.clone(), grad.clone()))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_batch_smaller_than_its_microbatches_is_refused(
    photos: Path, config: ExternalConfig
) -> None:
    """An empty microbatch would have a loss of NaN."""
    data, model = open_data(photos), make_model(config)
    partitioned = model.partition_for_training("classifier", 24)
    count = len(data.train)
    settings = stage(grad_accum_steps=4)
    recipe = replace(settings.recipe, batch_size=count - 3)
    with pytest.raises(InputError, match="a batch of 3 images is too small for 4 microbatches"):
        FinetuneState(
            model, partitioned, settings, recipe, model.eval_transform(24), 0, data.train, None
        )


def test_recomputing_activations_gives_the_same_gradients(
    photos: Path, config: ExternalConfig
) -> None:
    data, gradients = open_data(photos), []
    for again in (False, True):
        model = make_model(config)
        partitioned, settings = model.partition_for_training("all", 24), stage(trainable="all")
        train_state = FinetuneState(
            model,
            partitioned,
            settings,
            settings.recipe,
            model.eval_transform(24),
            0,
            data.train,
            None,
        )
        torch.manual_seed(0)
        images, labels = torch.randn(8, 3, 24, 24), torch.arange(8) % 3
        with grad_checkpointing(partitioned.trainable_part, again):
            forward_backward(train_state, images, labels, 8)
        assert not [m for m in partitioned.trainable_part.modules() if "forward" in vars(m)]
        gradients.append(
            {
                name: p.grad.clone()
                for name, p in model.model.named_parameters()
                if p.grad is not None
            }
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, grad in gradients[0].items():
        torch.testing.assert_close(grad, gradients[1][name], rtol=1e-4, atol=1e-6)


def test_balanced_class_weights_give_each_class_the_same_total_weight() -> None:
    labels = np.array([0] * 8 + [1] * 2)
    weights = balanced_class_weights(labels, 2)
    assert weights.tolist() == [0.625, 2.5]
    assert sum(float(weights[k]) * int((labels == k).sum()) for k in range(2)) == 10


def test_a_class_weight_multiplies_the_smoothed_loss_of_the_images_of_its_class(
    photos: Path, config: ExternalConfig
) -> None:
    """The loss written out image by image; torch's own `weight` gives another value."""
    data, model = open_data(photos), make_model(config)
    partitioned, weights = (
        model.partition_for_training("classifier", 24),
        torch.tensor([0.3, 1.0, 20.0]),
    )
    settings = stage(recipe=Recipe(batch_size=8, epochs=1, label_smoothing=0.1))
    transform = model.eval_transform(24)
    train_state = FinetuneState(
        model,
        partitioned,
        settings,
        settings.recipe,
        transform,
        0,
        data.train,
        class_weights=weights,
    )
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3], [1.0, -2.0, 0.0], [0.0, 3.0, 1.0]])
    labels, expected = [0, 2, 1, 0], []
    for row, label in zip(logits.tolist(), labels, strict=True):
        total = sum(math.exp(value) for value in row)
        logs = [value - math.log(total) for value in row]
        targets = [0.9 * (k == label) + 0.1 / 3 for k in range(3)]
        loss = -sum(target * log for target, log in zip(targets, logs, strict=True))
        expected.append(float(weights[label]) * loss)
    got = float(train_state.loss(logits, torch.tensor(labels)))
    assert got == pytest.approx(sum(expected) / 4, rel=1e-5)
    by_torch = torch.nn.functional.cross_entropy(
        logits, torch.tensor(labels), weights, label_smoothing=0.1, reduction="none"
    )
    assert got != pytest.approx(float(by_torch.mean()), rel=0.01)


@pytest.mark.parametrize(
    ("accuracies", "smoothed", "chosen"),
    [
        ((100, 100, 100), (0.3, 0.2, 0.7), 0.1),  # the plain loss would take 1.0
        ((100, 100, 100), (0.2, 0.2, 0.2), 0.01),
        ((80, 90, 95), (0.2, 0.3, 0.7), 1.0),
    ],
)
def test_the_smoothed_loss_decides_between_learning_rates_of_equal_accuracy(
    accuracies: tuple[float, ...], smoothed: tuple[float, ...], chosen: float
) -> None:
    results = [
        # The validation loss falls with the rate, as where the classes are separable.
        LrResult(lr, [EpochResult(1, accuracy, 0.1 / lr, 1.0)], smoothed_loss_nats=loss)
        for lr, accuracy, loss in zip((0.01, 0.1, 1.0), accuracies, smoothed, strict=True)
    ]
    for order in itertools.permutations(results):
        best = select_lr(order)
        assert best is not None
        assert best.lr == chosen


def test_a_learning_rate_without_a_finite_loss_is_never_selected() -> None:
    diverged = LrResult(0.1)
    trained = LrResult(0.01, [EpochResult(1, 20.0, 2.0, 1.0)], smoothed_loss_nats=2.0)
    assert select_lr([diverged, trained]) is trained
    assert select_lr([trained, diverged]) is trained
    assert select_lr([diverged]) is None


@pytest.mark.parametrize("lrs", [(1e-3, 1e-9), (1e-9, 1e-3)])
def test_a_stage_ends_with_the_weights_of_its_best_learning_rate(
    photos: Path, config: ExternalConfig, lrs: tuple[float, float]
) -> None:
    """One rate is too small to change a weight, so that the other one is the best."""
    results = []
    for rates in (lrs, (1e-3,)):
        data, model = open_data(photos), make_model(config)
        result = train_stage(model, stage(lrs=rates), data, transforms(model), 0)
        results.append((result.lr, result.best.accuracy_pct, model.clone_state()))
    (lr, accuracy_pct, weights), (_, expected_pct, expected) = results
    assert (lr, accuracy_pct) == (1e-3, expected_pct)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_the_smoothed_loss_is_lowest_for_a_probability_of_95_percent() -> None:
    def loss(probability: float) -> float:
        logits = torch.tensor([[probability, 1 - probability]]).log()
        return smoothed_loss(logits, torch.tensor([0]))

    expected = -0.95 * math.log(0.95) - 0.05 * math.log(0.05)
    assert loss(0.95) == pytest.approx(expected, rel=1e-6)
    assert loss(0.95) < loss(0.9) < loss(0.7)
    assert loss(0.95) < loss(0.99) < loss(0.999999)


@pytest.mark.parametrize("ema", [0.0, 0.98])
def test_a_loss_that_is_not_finite_restores_the_earlier_weights(
    photos: Path, config: ExternalConfig, ema: float
) -> None:
    data, model = open_data(photos), make_model(config)
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    wild = stage(
        recipe=Recipe(batch_size=8, epochs=1, optimizer=Adam(lr=1e30), ema=ema),
        trainable="all",
        augment="none",
    )
    fitted = train_stage(model, wild, data, transforms(model), 0)
    assert fitted.diverged
    assert math.isfinite(fitted.best.loss_nats)
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_folded_statistics_do_not_change_and_the_affine_parameters_are_trained(
    photos: Path, config: ExternalConfig
) -> None:
    data, model = open_data(photos), make_model(config)
    norm = batch_norm(model)
    for module in model.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.zero_()
            module.running_var.fill_(1 - module.eps)
    mean, weight = running_mean(norm).clone(), norm.weight.detach().clone()
    train_stage(
        model, stage(trainable="last norm", augment="test-like"), data, transforms(model), 0
    )
    assert torch.equal(running_mean(norm), mean)
    assert not torch.equal(norm.weight, weight)
    other = make_model(config)
    ours = batch_norm(other)
    before = running_mean(ours).clone()
    train_stage(
        other, stage(trainable="last norm", augment="test-like"), data, transforms(other), 0
    )
    assert not torch.equal(running_mean(ours), before)


def test_the_labels_of_the_test_split_do_not_change_the_weights(
    photos: Path, backbone: Path
) -> None:
    """With other labels on the test images, the same weights come out."""
    first = finetune(request(photos, backbone, recipe="fixres", epochs=2))
    weights = (first.model_folder / "model.safetensors").read_bytes()
    names = sorted((photos / "test" / "across").iterdir())
    for path in names:
        path.rename(photos / "test" / "down" / f"moved-{path.name}")
    texture("across", 1).save(photos / "test" / "across" / "one.png")
    again = finetune(
        replace(
            request(photos, backbone, recipe="fixres", epochs=2), output=photos.parent / "again"
        )
    )
    assert (again.model_folder / "model.safetensors").read_bytes() == weights
    assert again.result.test.correct < first.result.test.correct


def test_an_earlier_model_is_compared_on_the_same_images(photos: Path, backbone: Path) -> None:
    first = finetune(request(photos, backbone, recipe=QUICK))
    second = finetune(
        request(photos, backbone, recipe="proof-of-concept", epochs=1), baseline=first.model_folder
    )
    comparison = second.result.comparison
    assert comparison is not None
    assert comparison.baseline == first.model_folder.name
    assert comparison.baseline_accuracy_pct == pytest.approx(first.result.test.accuracy_pct)
    difference = second.result.test.correct - first.result.test.correct
    assert comparison.only_this - comparison.only_baseline == difference


def test_mcnemar_counts_the_images_that_only_one_model_classifies_correctly() -> None:
    labels = np.array([0, 0, 1, 1, 0])
    ours = SplitPredictions(np.eye(2)[[0, 0, 1, 0, 1]], labels)
    theirs = SplitPredictions(np.eye(2)[[1, 1, 1, 1, 1]], labels)
    comparison = compare(ours, theirs)
    assert (comparison.only_this, comparison.only_baseline) == (2, 1)
    assert comparison.p == 1.0  # of three coins, two or more one way or the other


def test_each_stage_and_each_long_step_is_announced(photos: Path, backbone: Path) -> None:
    messages: list[str] = []
    seen: dict[str, list[tuple[int, int]]] = {}
    requested = request(photos, backbone, recipe="full", epochs=2)
    finetune(
        requested,
        time_limit_seconds=600,
        notify=messages.append,
        on_item=lambda task, done, total: seen.setdefault(task, []).append((done, total)),
    )
    begins = [line for line in messages if "begins at 24 pixels" in line]
    assert [line.partition(":")[0] for line in begins] == ["probe", "all layers"]
    assert any(line.startswith("all layers: an epoch takes about ") for line in messages)
    assert messages.index("evaluating 18 test images") > messages.index(begins[-1])
    assert {"features computed", "all layers: steps"} <= seen.keys()
    for steps in seen.values():
        assert steps[-1][0] == steps[-1][1]


def test_assumed_preprocessing_is_printed_and_stored(photos: Path, backbone: Path) -> None:
    text = backbone.read_text()
    backbone.write_text("".join(line + "\n" for line in text.splitlines() if "0.5" not in line))
    messages: list[str] = []
    done = finetune(request(photos, backbone, recipe=QUICK), notify=messages.append)
    line = (
        "the weights do not state the mean and std of their images: those of ImageNet are assumed"
    )
    assert f"note: {line}" in messages
    assert line in done.result.caveats
    assert line in load_model_folder(done.model_folder).file.caveats


def test_a_fine_tuning_that_is_stopped_before_its_first_epoch_writes_nothing(
    photos: Path, backbone: Path
) -> None:
    requested = request(photos, backbone, recipe="proof-of-concept")
    with pytest.raises(StoppedError, match="nothing was written"):
        finetune(requested, should_stop=lambda: True)
    assert not (requested.output / "models").exists()


def test_every_recipe_of_the_catalog_runs(photos: Path, backbone: Path) -> None:
    assert finetune_recipe_names() == [
        "fixres",
        "full",
        "full-cutmix",
        "full-mixup",
        "full-random-erasing",
        "full-trivialaugment",
        "probe",
        "proof-of-concept",
        "proof-of-concept-as-run",
        "stage-one",
    ]
    for name in ("fixres", "full", "full-mixup", "full-trivialaugment", "proof-of-concept"):
        done = finetune(request(photos, backbone, recipe=name, epochs=1))
        assert len(done.result.stages) == len(load_finetune_recipe(name).stages)
        assert sum(item.selected for item in done.result.stages) == 1


def test_the_model_of_another_fine_tuning_is_never_replaced(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    first_request = replace(
        request(photos, backbone, recipe="proof-of-concept", epochs=1), output=tmp_path
    )
    first = finetune(first_request).model_folder
    weights = (first / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"another fine-tuning \(.*, seed 0\).*--name"):
        finetune(replace(first_request, seed=1))
    with pytest.raises(InputError, match="another fine-tuning"):
        finetune(replace(first_request, epochs=2))
    assert (first / "model.safetensors").read_bytes() == weights
    assert finetune(first_request).model_folder == first  # the same may be repeated
    second = finetune(replace(first_request, seed=1, name="second"))
    assert (second.model_folder.name, second.report_folder.name) == ("second", "second")
    with pytest.raises(InputError, match="--name: not a name of a folder"):
        finetune(replace(first_request, name="../up"))


def test_a_model_folder_is_named_in_the_script_of_its_data_folder(
    photos: Path, backbone: Path
) -> None:
    job = prepare_job(request(photos, backbone, recipe="probe"), lambda _: None)
    names = {
        folder_name(replace(job, photos=replace(job.photos, name=name))) for name in ("花", "鳥")
    }
    assert {name[:1] for name in names} == {"花", "鳥"}


def test_without_a_test_split_no_image_is_reserved_for_it_and_the_record_states_it(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    root = tmp_path / "pics"
    shutil.copytree(photos, root)
    shutil.rmtree(root / "test", ignore_errors=True)
    count = sum(1 for path in (root / "train").rglob("*") if path.is_file())
    first_request = replace(
        request(root, backbone, recipe="proof-of-concept", epochs=1), output=tmp_path / "out"
    )
    done = finetune(replace(first_request, no_test=True))
    result = done.result
    has_validation = (root / "validation").is_dir() or (root / "val").is_dir()
    assert result.train_images + (0 if has_validation else result.validation.images) == count
    assert not result.has_test
    assert result.test.images == result.validation.images
    file = load_model_folder(done.model_folder).file
    assert [metric.split for metric in file.metrics] == ["validation"]
    assert any("nothing is independent" in line for line in file.caveats)
    (line,) = [text for text in summary_lines(result, root, root) if "exact 95 %" in text]
    assert line.startswith("validation, no test ")
    for path in sorted((root / "train").glob("*/*"))[::4]:
        target = root / "testing" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    with pytest.raises(InputError, match="has a test split"):
        finetune(replace(first_request, no_test=True))


# Bad input
# --------------------------------------------------------------------------------------------------


def refused(requested: FinetuneRequest) -> str:
    with pytest.raises(InputError) as caught:
        finetune(requested)
    assert not (requested.output / "models").exists()
    assert not (requested.output / "reports").exists()
    return str(caught.value)


def test_mistakes_are_refused_in_one_line_and_leave_no_partial_files(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    assert (
        "unknown fine-tuning recipe (allowed: fixres, full, full-cutmix, full-mixup, "
        "full-random-erasing, full-trivialaugment, probe, proof-of-concept, "
        "proof-of-concept-as-run, stage-one)" in refused(request(photos, backbone, recipe="fixre"))
    )
    assert "--freeze: unknown (got most; allowed: backbone, none, a number of parts)" in refused(
        request(photos, backbone, freeze="most")
    )
    assert "freeze: 5 of its 5 parts leave nothing to train" in refused(
        request(photos, backbone, freeze="5", recipe="proof-of-concept")
    )
    assert "no such folder" in refused(request(tmp_path / "absent", backbone))
    backbone.write_text(backbone.read_text() + "\nlayers = 3\n")
    assert "layers: unknown field" in refused(request(photos, backbone))


def test_weights_of_another_network_are_refused(photos: Path, backbone: Path) -> None:
    requested = replace(
        request(photos, backbone),
        model="torchvision/resnet18",
        weights=backbone.with_suffix(".safetensors"),
    )
    assert "Fix: give the file of this network, or the network of this file" in refused(requested)


def test_an_image_size_below_the_minimum_of_the_network_is_refused(
    photos: Path, backbone: Path
) -> None:
    backbone.write_text('source = "torchvision/alexnet"\n')
    assert "does not take images of 24 x 24" in refused(request(photos, backbone))


def test_non_commercial_weights_need_accept_license(photos: Path, backbone: Path) -> None:
    backbone.write_text(backbone.read_text().replace("Apache-2.0", "CC-BY-NC-4.0"))
    assert "forbids commercial use: CC-BY-NC-4.0" in refused(request(photos, backbone))
    done = finetune(request(photos, backbone, recipe=QUICK, accept_license=True))
    assert load_model_folder(done.model_folder).file.license.non_commercial


def test_a_test_class_that_train_lacks_is_reported_by_name(photos: Path, backbone: Path) -> None:
    (photos / "test" / "dots").mkdir()
    texture("plain", 5).save(photos / "test" / "dots" / "a.png")
    assert f"{photos}/test/dots: a class that is not in train" in refused(request(photos, backbone))


def test_a_broken_photograph_is_reported_and_skipped_on_request(
    photos: Path, backbone: Path
) -> None:
    (photos / "train" / "plain" / "zz.jpg").write_text("words")
    assert "not an image (allowed: JPEG" in refused(request(photos, backbone))
    assert (
        finetune(request(photos, backbone, recipe=QUICK, skip_bad=True)).result.train_images == 30
    )


def test_a_folder_without_splits_is_split_and_validation_is_drawn_from_train(
    tmp_path: Path,
) -> None:
    flat = folder(tmp_path / "flat", {"": 20})
    data = open_photographs(flat, cache=tmp_path / "cache")
    assert (len(data.train), len(data.validation), len(data.test)) == (42, 9, 9)
    two = folder(tmp_path / "two", {"train": 20, "test": 4})
    cut = open_photographs(two, cache=tmp_path / "cache")
    assert (len(cut.train), len(cut.validation), len(cut.test)) == (51, 9, 12)
    assert np.bincount(cut.validation.labels).tolist() == [3, 3, 3]


def test_classes_with_imagenet_names_give_a_caveat_in_the_model(
    tmp_path: Path, backbone: Path
) -> None:
    root = folder(tmp_path / "stripes", {"train": 6, "val": 2, "test": 2})
    for split in ("train", "val", "test"):
        for number, kind in enumerate(KINDS):
            (root / split / kind).rename(root / split / f"n0208562{number}-{kind}")
    done = finetune(request(root, backbone, recipe=QUICK))
    assert "ImageNet" in load_model_folder(done.model_folder).file.caveats[0]
    assert "ImageNet" in (done.model_folder / "README.md").read_text()


def test_the_command_without_a_model_option_prints_the_command_that_uses_the_model(
    photos: Path, backbone: Path
) -> None:
    weights = photos.parent / "weights"
    weights.mkdir()
    for path in (backbone, backbone.with_suffix(".safetensors")):
        path.rename(weights / path.name)
    env = environment(RESNETLAB_WEIGHTS=str(weights))
    command = [
        sys.executable,
        "-m",
        "resnetlab",
        "finetune",
        str(photos),
        "--train-size",
        "24",
        "--time-limit",
        "1s",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=photos.parent, env=env, timeout=250
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("test ") and "95 % interval over images" in line for line in lines)
    assert lines[-2].startswith("resnetlab predict models/stripes-tiny-full ")
    assert "RESNETLAB_WEIGHTS: tiny.toml" in done.stderr
    evaluation = "evaluate models/stripes-tiny-full stripes --out mistakes --json"
    again = [sys.executable, "-m", "resnetlab", *evaluation.split()]
    scored = subprocess.run(
        again, capture_output=True, text=True, cwd=photos.parent, env=env, timeout=120
    )
    assert scored.returncode == 0, scored.stderr
    test = json.loads(
        (photos.parent / "reports" / "stripes-tiny-full" / "finetune.json").read_text()
    )["test"]
    top1 = json.loads(scored.stdout)["top1"]
    assert (top1["pct"], top1["low"], top1["high"]) == pytest.approx(
        (test["accuracy_pct"], test["low_pct"], test["high_pct"])
    )
    printed = subprocess.run(
        again[:-1], capture_output=True, text=True, cwd=photos.parent, env=env, timeout=120
    ).stdout
    (interval,) = [line.partition(" of ")[0] for line in lines if line.startswith("test ")]
    assert f"top-1 {interval.removeprefix('test ')}, " in printed
    assert (photos.parent / "mistakes" / "report.html").exists()
    assert lines[-1] == "Page: reports/stripes-tiny-full/report.html"
    assert (photos.parent / lines[-1].removeprefix("Page: ")).is_file()


def test_a_failed_download_of_the_default_weights_is_reported_with_a_fix(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RESNETLAB_WEIGHTS", raising=False)
    for module in ("models.external", "finetune.network.backbones"):
        monkeypatch.setattr(f"resnetlab.{module}.connection_problem", lambda _: "")
    monkeypatch.setattr(
        "torch.hub.download_url_to_file",
        lambda *_, **__: (_ for _ in ()).throw(OSError("no route")),
    )
    text = refused(FinetuneRequest(folder=photos, device="cpu", output=tmp_path / "out"))
    assert text.startswith(
        "torchvision/mobilenet_v3_large+: the hub of torchvision cannot be reached: no route. "
        "Fix: place "
    )
    assert "\n" not in text


def test_without_a_network_connection_the_error_lists_the_local_weights(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("RESNETLAB_WEIGHTS", raising=False)
    requested = FinetuneRequest(folder=photos, device="cpu", output=tmp_path / "out")
    monkeypatch.setattr(
        "resnetlab.finetune.network.backbones.connection_problem", lambda _: "no answer in 4 s"
    )
    text = refused(requested)
    start = (
        "--model: the default network torchvision/mobilenet_v3_large (22 MB) is not on this "
        "machine, and "
    )
    assert text.startswith(f"{start}it cannot be downloaded: no answer in 4 s. Fix: --model timm/")
    assert "resnetlab import-weights FILE.pth --as torchvision/mobilenet_v3_large --out DIR" in text
    snapshot = tmp_path / "hub" / "models--timm--resnet10t.c3_in1k" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (tmp_path / "hub" / "models--timm--begun").mkdir()
    (snapshot / "model.safetensors").write_bytes(b"x")
    monkeypatch.setenv("RESNETLAB_OFFLINE", "1")
    text = refused(requested)
    assert f"{start}downloads are switched off" in text
    assert "timm has downloaded before: --model timm/resnet10t.c3_in1k;" in text


def test_the_stated_download_size_of_the_default_networks_equals_torchvision() -> None:
    from torchvision.models import get_model_weights

    assert {PREFERRED_MODELS[0], PREFERRED_ON_CPU[0]} == set(DOWNLOAD_MEGABYTES)
    for name, expected in DOWNLOAD_MEGABYTES.items():
        megabytes = get_model_weights(name).DEFAULT.meta["_file_size"]  # in units of 2^20 bytes
        assert round(megabytes * 2**20 / 1e6) == expected


def test_without_a_gpu_the_default_network_has_the_fewest_operations() -> None:
    from torchvision.models import get_model_weights

    assert set(PREFERRED_ON_CPU) == set(PREFERRED_MODELS)
    operations = [get_model_weights(name).DEFAULT.meta["_ops"] for name in PREFERRED_ON_CPU]
    assert operations == sorted(operations)


def test_invalid_combinations_in_a_recipe_are_refused() -> None:
    recipe = Recipe(epochs=1)
    with pytest.raises(ValueError, match="cannot set augment"):
        stage(recipe=replace(recipe, normalize="half"))
    with pytest.raises(ValueError, match="whole images differ in shape"):
        FinetuneRecipe(name="a", crop_mode="whole", stages=(stage(),))


def test_whole_photographs_can_be_used_in_a_probe_recipe(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    text = (
        '[[stages]]\nname = "probe"\naugment = "none"\nsize = "test"\nrecipe = { batch_size = 8, '
        "steps = 20 }\n"
    )
    recipe = tmp_path / "whole.toml"
    recipe.write_text('crop_mode = "whole"\n' + text)
    texture("plain", 77, 80, 33).save(photos / "train" / "plain" / "wide.png")
    done = finetune(request(photos, backbone, recipe=str(recipe)))
    assert load_model_folder(done.model_folder).file.eval_transform.crop_mode == "whole"


def test_all_input_is_checked_before_training(photos: Path, backbone: Path) -> None:
    job = prepare_job(request(photos, backbone, recipe="fixres", test_size=32), lambda _: None)
    assert (job.recipe.train_size, job.recipe.test_size) == (24, 32)
    assert (len(job.photos.train), job.photos.name) == (30, "stripes")


def test_each_fold_of_a_cross_validation_is_tested_by_a_model_trained_without_it(
    photos: Path, backbone: Path
) -> None:
    table, report = cross_validate(request(photos, backbone, recipe="probe", name="cv"), 3)
    results = table.folds
    assert [result.folder for result in results] == ["cv-fold0", "cv-fold1", "cv-fold2"]
    data = open_photographs(photos, cache=photos.parent / "cache", folds=3)
    assert results[0].test.images == len(data.test)
    accuracies = [result.test.accuracy_pct for result in results]
    assert table.mean_pct == pytest.approx(sum(accuracies) / 3)
    assert table.low_pct <= table.mean_pct <= table.high_pct
    assert (report / "folds.json").is_file()
    assert len(table.lines()) == 4
    with pytest.raises(InputError, match="given together with --no-test"):
        finetune(request(photos, backbone, folds=3, no_test=True))
