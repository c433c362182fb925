"""A fine-tuning stage trains its part of the network with the same bits each time and ends with the
weights of its best learning rate; its losses and gradients equal those written out.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from helpers.finetuning import CPU, make_model, stage
from resnetlab.data.device_images import DeviceImages
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.data.transforms.photo_train import Augmentation
from resnetlab.errors import InputError
from resnetlab.finetuning.dataset import PhotoDataset, PhotoSplit, open_photographs
from resnetlab.finetuning.evaluation import predict_photos
from resnetlab.finetuning.job import balanced_class_weights
from resnetlab.finetuning.network.grad_checkpointing import grad_checkpointing
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.stage.stage_cache import StageCache, stage_key
from resnetlab.finetuning.stage.state import FinetuneState
from resnetlab.finetuning.stage.train_stage import (
    EpochResult,
    LrResult,
    select_lr,
    smoothed_loss,
    train_stage,
)
from resnetlab.models.configs import ExternalConfig
from resnetlab.recipes.finetune import (
    Trainable,
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
        LrResult(lr, [EpochResult(1, accuracy, 0.1 / lr, 1.0, 4)], smoothed_loss_nats=loss)
        for lr, accuracy, loss in zip((0.01, 0.1, 1.0), accuracies, smoothed, strict=True)
    ]
    for order in itertools.permutations(results):
        best = select_lr(order)
        assert best is not None
        assert best.lr == chosen


def test_a_learning_rate_without_a_finite_loss_is_never_selected() -> None:
    diverged = LrResult(0.1)
    trained = LrResult(0.01, [EpochResult(1, 20.0, 2.0, 1.0, 4)], smoothed_loss_nats=2.0)
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
