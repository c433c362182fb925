"""mixup, CutMix, RandomErasing and TrivialAugment equal those of torchvision. Each has its own
random stream, so that threads, torch's generator and an interruption change no bit.
"""

from __future__ import annotations

import gc
import math
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import v2

from helpers.texture_photographs import KINDS, texture
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.data.transforms.photo_augment import (
    MAGNITUDES,
    WIDE_OPERATIONS,
    draw_erasing,
    erase,
    make_mixer,
    trivial_augment,
)
from resnetlab.data.transforms.photo_train import apply_train_transform, draw_photo_epoch
from resnetlab.finetuning.dataset import open_photographs
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.stage.state import FinetuneState
from resnetlab.finetuning.stage.train_stage import StageCallbacks, train_stage
from resnetlab.finetuning.time_limit.time_step import time_step
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.weights import state_dict_hash
from resnetlab.recipes.finetune import Sampler, Stage, load_finetune_recipe
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Adam, Recipe
from resnetlab.training.rng import make_generator

NUMERICS = Numerics(device="cpu", precision="fp32", memory_format="channels_last", threads=1)
TRANSFORM = EvalTransform(size=24, mean=(0.5, 0.4, 0.3), std=(0.5,) * 3)
ALL: dict[str, Any] = {
    "augment": "trivial",
    "mixup": 0.4,
    "cutmix": 1.0,
    "random_erasing": 0.5,
}


def make_model(config: ExternalConfig) -> FinetuneModel:
    return FinetuneModel(config, None, KINDS, 0, NUMERICS, torch.device("cpu"))


def make_stage(**fields: Any) -> Stage:
    recipe = Recipe(batch_size=8, epochs=2, optimizer=Adam(lr=1e-2))
    return Stage(**({"name": "stage", "trainable": "all", "recipe": recipe} | fields))


def test_every_operation_of_trivial_augment_equals_torchvision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The class of torchvision is made to draw each operation, magnitude and sign in turn."""
    image = torch.from_numpy(np.array(texture("across", 3))).permute(2, 0, 1).contiguous()
    theirs = v2.TrivialAugmentWide()
    space = list(v2.TrivialAugmentWide._AUGMENTATION_SPACE.items())
    assert len(space) == len(WIDE_OPERATIONS)
    compared = 0
    for kind, (_, _, is_signed, _) in enumerate(WIDE_OPERATIONS):
        monkeypatch.setattr(theirs, "_get_random_item", lambda _, kind=kind: space[kind])
        for number in range(0, MAGNITUDES, 3):
            for negative in (0, 1) if is_signed else (0,):
                monkeypatch.setattr(torch, "randint", lambda *_, n=number: torch.tensor(n))
                monkeypatch.setattr(torch, "rand", lambda _, n=negative: torch.tensor(1.0 - n))
                expected = theirs(image)
                monkeypatch.undo()
                monkeypatch.setattr(theirs, "_get_random_item", lambda _, kind=kind: space[kind])
                ours = trivial_augment(image, torch.tensor([kind, number, negative]))
                assert torch.equal(ours, expected), (space[kind][0], number, negative)
                compared += 1
    assert compared == 11 * (9 * 2 + 5)


def test_erased_rectangles_have_the_distribution_of_torchvision() -> None:
    side, count = 64, 1500
    ours = draw_erasing(count, 1.0, side, 7).numpy()
    torch.manual_seed(1)
    erasing, blank = v2.RandomErasing(p=1.0), torch.zeros((3, side, side))
    theirs = np.array(
        [
            [box[name] for name in ("i", "j", "h", "w")]
            for box in (erasing.make_params([blank]) for _ in range(count))
        ]
    )
    assert (ours[:, 2] > 0).all()
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
    assert (ours[:, 0] + ours[:, 2] <= side).all()
    assert (ours[:, 1] + ours[:, 3] <= side).all()
    share = (draw_erasing(4000, 0.25, side, 8)[:, 2] > 0).float().mean()
    assert abs(float(share) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4000)
    assert not draw_erasing(10, 0.0, side, 8).any()


def test_an_erased_rectangle_has_the_mean_color_and_the_other_pixels_do_not_change() -> None:
    image = torch.from_numpy(np.array(texture("down", 3))).permute(2, 0, 1)
    erased = erase(image, torch.tensor([2, 3, 4, 5]), (0.5, 0.4, 0.3))
    inside = torch.zeros(image.shape[1:], dtype=torch.bool)
    inside[2:6, 3:8] = True
    assert torch.equal(erased[:, ~inside], image[:, ~inside])
    assert erased[:, inside].unique(dim=1).flatten().tolist() == [128, 102, 76]
    assert torch.equal(erase(image, torch.zeros(4, dtype=torch.int64), (0.5,) * 3), image)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_the_labels_of_a_mixed_batch_match_its_pixels(kind: str) -> None:
    """Images of a constant value each: what is mixed can be read from the pixels."""
    values, labels = torch.arange(6.0), torch.tensor([0, 1, 2, 0, 1, 2])
    images = values[:, None, None, None].expand(6, 3, 16, 16).contiguous()
    mixer = make_mixer(1.0 if kind == "mixup" else 0.0, 1.0 if kind == "cutmix" else 0.0, 3)
    assert mixer is not None
    mixed, probabilities = mixer(images, labels, 11)
    partner = values.roll(1)
    for index in range(6):
        value, other = float(values[index]), float(partner[index])
        if kind == "mixup":
            assert len(mixed[index].unique()) == 1
            share = (float(mixed[index, 0, 0, 0]) - other) / (value - other)
        else:
            assert set(mixed[index].unique().tolist()) <= {value, other}
            share = float((mixed[index, 0] == value).float().mean())
        expected = torch.zeros(3)
        expected[labels[index]] += share
        expected[labels[index - 1]] += 1 - share
        torch.testing.assert_close(probabilities[index], expected, rtol=1e-5, atol=1e-5)
    again = mixer(images, labels, 11)
    assert torch.equal(again[0], mixed)
    assert not torch.equal(mixer(images, labels, 12)[0], mixed)


def test_mixing_does_not_change_the_generator_of_torch() -> None:
    mixer = make_mixer(0.2, 1.0, 3)
    assert mixer is not None
    before = torch.get_rng_state()
    mixer(torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), 1)
    draw_erasing(5, 1.0, 16, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_of_a_mixed_image_is_the_class_weighted_sum_over_its_labels(
    photos: Path, config: ExternalConfig
) -> None:
    """Written out: share times weight times smoothed loss, summed over the two labels."""
    data, model = open_photographs(photos, cache=photos.parent / "cache"), make_model(config)
    partitioned = model.partition_for_training("classifier", 24)
    settings = make_stage(recipe=Recipe(batch_size=8, epochs=1, label_smoothing=0.1))
    weights = torch.tensor([0.3, 1.0, 20.0])
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]])
    shares = torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.6, 0.4]])
    for class_weights in (None, weights):
        state = FinetuneState(
            model,
            partitioned,
            settings,
            settings.recipe,
            model.eval_transform(24),
            0,
            data.train,
            class_weights,
        )
        expected = 0.0
        for row, parts in zip(logits.tolist(), shares.tolist(), strict=True):
            logs = [value - math.log(sum(map(math.exp, row))) for value in row]
            for label, share in enumerate(parts):
                smoothed = -sum((0.9 * (k == label) + 0.1 / 3) * log for k, log in enumerate(logs))
                weight = 1.0 if class_weights is None else float(class_weights[label])
                expected += share * weight * smoothed
        assert float(state.loss(logits, shares)) == pytest.approx(expected / 2, rel=1e-5)


@pytest.mark.parametrize("trainable", ["classifier", "all"])
@pytest.mark.parametrize("sampler", ["shuffled", "balanced"])
def test_threads_and_the_global_generator_do_not_change_a_bit(
    photos: Path,
    config: ExternalConfig,
    monkeypatch: pytest.MonkeyPatch,
    trainable: Any,
    sampler: Sampler,
) -> None:
    data = open_photographs(photos, cache=photos.parent / "cache")
    hashes = []
    for workers in (1, 5):
        monkeypatch.setattr(
            "resnetlab.data.photo_loader.default_workers", lambda workers=workers: workers
        )
        torch.manual_seed(workers)
        model = make_model(config)
        transform = model.eval_transform(24)
        settings = make_stage(trainable=trainable, **ALL)
        train_stage(
            model, settings, data, {"train": transform, "test": transform}, 3, sampler=sampler
        )
        hashes.append(state_dict_hash(model.model.state_dict()))
    assert hashes[0] == hashes[1]


def test_no_thread_of_a_loader_is_left_after_training(photos: Path, config: ExternalConfig) -> None:
    """Without the collector of reference cycles, only a loader that is closed ends its threads."""
    data, model = open_photographs(photos, cache=photos.parent / "cache"), make_model(config)
    transform, settings = model.eval_transform(24), make_stage(lrs=(1e-3, 1e-2))
    transforms = {"train": transform, "test": transform}
    before = threading.active_count()
    during: list[int] = []

    def count_threads(_event: object) -> None:
        during.append(threading.active_count())

    gc.disable()
    try:
        callbacks = StageCallbacks(on_event=count_threads)
        train_stage(model, settings, data, transforms, 3, callbacks=callbacks)
        time_step(model, settings, data, transform, 3)
    finally:
        gc.enable()
    assert max(during) > before
    assert threading.active_count() == before


@pytest.mark.parametrize("field", ["augment", "mixup", "cutmix", "random_erasing"])
def test_each_augmentation_changes_the_trained_weights(
    photos: Path, config: ExternalConfig, field: str
) -> None:
    data = open_photographs(photos, cache=photos.parent / "cache")
    hashes = []
    for settings in (make_stage(), make_stage(**{field: ALL[field]})):
        model = make_model(config)
        transform = model.eval_transform(24)
        train_stage(model, settings, data, {"train": transform, "test": transform}, 3)
        hashes.append(state_dict_hash(model.model.state_dict()))
    assert hashes[0] != hashes[1]


def test_a_photograph_that_is_drawn_twice_gets_two_crops() -> None:
    weights = torch.tensor([1.0, 0.0])
    draws = draw_photo_epoch(2, partial(make_generator, 0), weights)
    assert draws.order.tolist() == [0, 0]
    photo = np.array(texture("across", 1))
    first, second = (
        apply_train_transform(photo, TRANSFORM, "standard", draws, int(row)) for row in draws.rows
    )
    assert not torch.equal(first, second)


def test_augmentation_of_constant_features_is_refused() -> None:
    for field in ("mixup", "cutmix", "random_erasing"):
        with pytest.raises(ValueError, match="the features are computed only once"):
            make_stage(augment="none", **{field: 0.5})


@pytest.mark.parametrize("name", ["mixup", "cutmix", "random-erasing", "trivialaugment"])
def test_each_recipe_with_augmentation_differs_from_full_only_in_it(name: str) -> None:
    full, recipe = load_finetune_recipe("full"), load_finetune_recipe(f"full-{name}")
    changed = {"mixup": "mixup", "cutmix": "cutmix", "random-erasing": "random_erasing"}
    field = changed.get(name, "augment")
    stage = recipe.stages[1]
    assert getattr(stage, field) != getattr(full.stages[1], field)
    plain = replace(stage, **{field: getattr(full.stages[1], field)})
    assert replace(recipe, stages=(recipe.stages[0], plain)).identity == full.identity
