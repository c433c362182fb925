"""The training loop yields the documented events and batches, with the same bits after any number
of stops.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.small_training import SmallTraining
from resnetlab.data.config import Augment, LabeledImages
from resnetlab.data.device_images import DeviceImages
from resnetlab.models.configs import CifarConfig
from resnetlab.recipes.train import SGD, Adam, AdamW, Cosine, OneCycle, Recipe
from resnetlab.training import events

Same = Callable[[dict[str, Tensor], dict[str, Tensor]], None]


def never() -> bool:
    return False


def numbers(batch: Tensor) -> list[int]:
    """Return the numbers of the images in a batch."""
    return [round(float(image.max()) * 255) for image in batch]


# Events of the loop
# --------------------------------------------------------------------------------------------------


def test_the_loop_yields_a_start_and_then_each_epoch(small: SmallTraining) -> None:
    train_state = small.train_state(Recipe(batch_size=8, epochs=3))  # 20 images: 3 steps an epoch
    collected = [
        (p.kind, p.step, p.total_steps, p.epoch, p.images_processed) for p in small.run(train_state)
    ]
    assert collected == [
        ("start", 0, 9, 0.0, 0),
        ("epoch", 3, 9, 1.0, 20),
        ("epoch", 6, 9, 2.0, 40),
        ("epoch", 9, 9, 3.0, 60),
    ]


def test_the_last_partial_epoch_ends_with_the_run(small: SmallTraining) -> None:
    train_state = small.train_state(Recipe(batch_size=8, steps=7))
    collected = [(p.kind, p.step, p.images_processed) for p in small.run(train_state)]
    assert collected == [("start", 0, 0), ("epoch", 3, 20), ("epoch", 6, 40), ("epoch", 7, 48)]


def test_a_tick_event_follows_after_its_interval(
    small: SmallTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TICK_SECONDS", -1.0)
    train_state = small.train_state(Recipe(batch_size=8, steps=4))
    assert [p.kind for p in small.run(train_state)] == ["start", "tick", "tick", "epoch", "epoch"]


def test_stop_is_called_before_each_step_and_ends_the_loop(small: SmallTraining) -> None:
    calls = []

    def stop() -> bool:
        calls.append(train_state.step)
        return train_state.step >= 4

    train_state = small.train_state(Recipe(batch_size=8, epochs=3))
    collected = [(p.kind, p.step) for p in small.events(train_state, should_stop=stop)]
    assert collected == [("start", 0), ("epoch", 3), ("interrupted", 4)]
    assert calls == [0, 1, 2, 3, 4]


def test_a_stop_before_the_first_step_changes_no_weight(small: SmallTraining) -> None:
    train_state = small.train_state(Recipe(batch_size=8, epochs=1))
    before = small.snapshot(train_state)
    assert [p.kind for p in small.run(train_state, until=0)] == ["start", "interrupted"]
    assert all(
        torch.equal(before[name], tensor) for name, tensor in train_state.state_dict().items()
    )


def test_a_resumed_run_yields_no_second_start_and_a_finished_run_yields_nothing(
    small: SmallTraining,
) -> None:
    train_state = small.train_state(Recipe(batch_size=8, epochs=2))
    small.run(train_state, until=2)
    assert [(p.kind, p.step, p.images_processed) for p in small.run(train_state)] == [
        ("epoch", 3, 4),
        ("epoch", 6, 24),
    ]
    assert small.run(train_state) == []


def test_the_measured_seconds_exclude_the_body_of_the_loop_of_the_caller(
    small: SmallTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(events, "TICK_SECONDS", 1e9)
    train_state = small.train_state(Recipe(batch_size=8, epochs=3))

    def slow(*_: Tensor) -> None:
        clock[0] += 1.0

    seconds = []
    for progress in small.events(train_state, on_batch=slow):
        seconds.append(progress.seconds)
        clock[0] += 1000.0
    assert seconds == [0.0, 3.0, 6.0, 9.0]


@pytest.mark.parametrize("end", ["to the end", "closed", "a body that raises"])
def test_the_random_state_of_the_process_is_restored(small: SmallTraining, end: str) -> None:
    model = CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8), dropout=0.3)
    train_state = small.train_state(Recipe(batch_size=8, epochs=1), model=model)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    running = small.events(train_state)
    if end == "to the end":
        list(running)
    elif end == "closed":
        next(running)
        next(running)
        running.close()
    else:
        next(running)
        with pytest.raises(ZeroDivisionError):
            running.throw(ZeroDivisionError())
    assert torch.equal(torch.get_rng_state(), before)


# Batches of a step
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [
        (20, 8, [8, 8, 4]),
        (17, 8, [8, 8]),
        (16, 8, [8, 8]),
        (18, 8, [8, 8, 2]),
        (5, 8, [5]),
        (9, 8, [8]),
        (2, 2, [2]),
    ],
)
def test_a_last_batch_of_one_image_is_left_out(
    small: SmallTraining, count: int, batch: int, sizes: list[int]
) -> None:
    images = small.numbered(count)
    train_state = small.train_state(Recipe(batch_size=batch, epochs=2), images)
    yielded, batches = small.run_with_batches(train_state, images)
    assert [len(labels) for _, labels in batches] == sizes * 2
    assert yielded[-1].images_processed == sum(sizes) * 2


def test_each_epoch_has_every_image_once_with_its_label_in_a_new_order(
    small: SmallTraining,
) -> None:
    images = small.numbered(30)
    train_state = small.train_state(Recipe(batch_size=8, epochs=3, normalize="none"), images)
    _, batches = small.run_with_batches(train_state, images)
    orders = []
    for epoch in range(3):
        order = [n for batch, _ in batches[4 * epoch : 4 * epoch + 4] for n in numbers(batch)]
        labels = [int(label) for _, some in batches[4 * epoch : 4 * epoch + 4] for label in some]
        assert sorted(order) == list(range(30))
        assert labels == [n % 4 for n in order]
        orders.append(tuple(order))
    assert len(set(orders)) == 3


def order_of(
    small: SmallTraining, recipe: Recipe, seed: int = 0, model: CifarConfig | None = None
) -> list[int]:
    images = small.numbered(30)
    train_state = small.train_state(recipe, images, seed=seed, model=model or small.network)
    _, batches = small.run_with_batches(train_state, images)
    return [n for batch, _ in batches for n in numbers(batch)]


def test_the_order_depends_only_on_seed_and_epoch(small: SmallTraining) -> None:
    plain: dict[str, Any] = {"batch_size": 8, "epochs": 2, "normalize": "none"}
    base = order_of(small, Recipe(**plain))
    for other in (
        Recipe(**plain | {"augment": Augment(flip=True)}),
        Recipe(**plain | {"augment": Augment(crop_padding=1, flip=True, cutout=2)}),
        Recipe(**plain | {"batch_size": 15}),
        Recipe(**plain | {"optimizer": Adam(), "label_smoothing": 0.1}),
        Recipe(**plain | {"epochs": None, "steps": 8}),
    ):
        assert order_of(small, other) == base
    assert order_of(small, Recipe(**plain), seed=1) != base
    dropping = CifarConfig(blocks=(2, 1, 1), widths=(4, 6, 8), dropout=0.5, shortcut="none")
    assert order_of(small, Recipe(**plain), model=dropping) == base


def test_conditions_with_the_same_seed_get_identical_batches(small: SmallTraining) -> None:
    recipe = Recipe(batch_size=8, epochs=2, augment=Augment(crop_padding=2, flip=True, cutout=3))
    orders = []
    for shortcut in ("none", "A"):
        train_state = small.train_state(
            recipe, model=CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8), shortcut=shortcut)
        )
        _, batches = small.run_with_batches(train_state)
        orders.append(batches)
    for (left, left_labels), (right, right_labels) in zip(*orders, strict=True):
        assert torch.equal(left, right)
        assert torch.equal(left_labels, right_labels)


def test_an_image_is_augmented_differently_in_each_epoch(small: SmallTraining) -> None:
    recipe = Recipe(batch_size=20, epochs=6, augment=Augment(crop_padding=2, flip=True))
    images = LabeledImages(small.images(1).pixels.repeat(20, 0), small.images(20).labels)
    train_state = small.train_state(recipe, images)
    _, batches = small.run_with_batches(train_state, images)
    seen = Counter(image.contiguous().numpy().tobytes() for batch, _ in batches for image in batch)
    assert len(seen) > 35, "of 25 corners times 2 sides"


# Equal bits after a resumption
# --------------------------------------------------------------------------------------------------

SHORT: dict[str, Any] = {"batch_size": 8, "steps": 8}  # 3 steps an epoch: two epochs and two steps
DROPPING = CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8), dropout=0.3)
PLAIN = CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8), shortcut="B", batch_norm=False)
CASES: dict[str, tuple[Recipe, CifarConfig]] = {
    "momentum": (
        Recipe(optimizer=SGD(lr=0.05, nesterov=True, weight_decay=1e-3), **SHORT),
        DROPPING,
    ),
    "no momentum": (Recipe(optimizer=SGD(lr=0.05, momentum=0.0), **SHORT), PLAIN),
    "adam": (Recipe(optimizer=Adam(), schedule=OneCycle(), **SHORT), PLAIN),
    "adamw": (
        Recipe(optimizer=AdamW(), schedule=Cosine(warmup=0.3), decay_norm_and_bias=False, **SHORT),
        DROPPING,
    ),
    "average": (Recipe(optimizer=SGD(lr=0.05), ema=0.9, clip_norm=1.0, **SHORT), DROPPING),
    "augmented": (
        Recipe(
            optimizer=SGD(lr=0.05),
            augment=Augment(crop_padding=2, flip=True, cutout=3),
            label_smoothing=0.1,
            **SHORT,
        ),
        DROPPING,
    ),
}


@pytest.mark.parametrize(
    ("precision", "layout"), [("fp32", "contiguous"), ("bf16", "channels_last")]
)
@pytest.mark.parametrize("case", CASES)
def test_a_run_stopped_at_any_step_and_restored_has_the_bits_of_an_uninterrupted_one(
    small: SmallTraining, same: Same, case: str, precision: str, layout: str
) -> None:
    recipe, model = CASES[case]
    options = {"precision": precision, "layout": layout, "model": model, "seed": 5}
    uninterrupted = small.train_state(recipe, **options)
    small.run(uninterrupted)
    first = small.train_state(recipe, **options)
    for step in range(recipe.steps + 1):
        small.run(first, until=step)
        saved = small.snapshot(first)
        torch.rand(step)  # the random state of the process must have no effect
        second = small.train_state(recipe, **options)
        second.load_state_dict(saved, step)
        assert second.train_metrics() == first.train_metrics()
        small.run(second)
        same(second.state_dict(), uninterrupted.state_dict())
        assert second.train_metrics() == uninterrupted.train_metrics()
        assert second.step == uninterrupted.step == 8


def test_a_run_stopped_at_every_step_has_the_bits_of_an_uninterrupted_one(
    small: SmallTraining, same: Same
) -> None:
    recipe, model = CASES["augmented"]
    uninterrupted = small.train_state(recipe, model=model)
    small.run(uninterrupted)
    train_state = small.train_state(recipe, model=model)
    for step in itertools.count(1):
        small.run(train_state, until=step)
        if train_state.step == train_state.total_steps:
            break
        fresh = small.train_state(recipe, model=model)
        fresh.load_state_dict(small.snapshot(train_state), train_state.step)
        train_state = fresh
    same(train_state.state_dict(), uninterrupted.state_dict())


def test_work_of_the_caller_between_steps_changes_no_bit(small: SmallTraining, same: Same) -> None:
    recipe, model = CASES["average"]
    calm, busy = (small.train_state(recipe, model=model) for _ in range(2))
    small.run(calm)
    device_images = DeviceImages.from_images(small.images(), small.cpu)
    for _ in small.events(busy):
        torch.manual_seed(3)
        torch.rand(7)
        with torch.no_grad():
            busy.model.eval()
            busy.eval_forward_pixels(device_images.pixels)
            busy.model.train()
    same(busy.state_dict(), calm.state_dict())


def test_train_states_are_equal_for_the_same_seed_and_differ_for_different_seeds(
    small: SmallTraining,
) -> None:
    recipe = Recipe(batch_size=8, steps=4)
    train_states = [small.train_state(recipe, seed=seed) for seed in (0, 0, 1)]
    for train_state in train_states:
        small.run(train_state)
    states = [train_state.model.state_dict() for train_state in train_states]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])


def test_a_restored_train_state_owns_its_tensors(small: SmallTraining) -> None:
    recipe = Recipe(batch_size=8, steps=6, optimizer=Adam(), ema=0.5)
    first = small.train_state(recipe)
    small.run(first, until=3)
    second = small.train_state(recipe)
    second.load_state_dict(first.state_dict(), 3)
    before = small.snapshot(first)
    small.run(second)
    assert all(torch.equal(before[name], tensor) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_contains_each_tensor_once_and_everything_that_a_step_changes(
    small: SmallTraining, case: str
) -> None:
    recipe, model = CASES[case]
    train_state = small.train_state(recipe, model=model)
    small.run(train_state, until=2)
    saved = train_state.state_dict()
    assert {name.split("/")[0] for name in saved} <= {"model", "optimizer", "ema", "epoch"}
    places = [tensor.data_ptr() for tensor in saved.values()]
    assert len(set(places)) == len(places)
    assert all(f"model/{name}" in saved for name in train_state.model.state_dict())


# Output of the loop
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [20, 17])
def test_the_running_loss_and_error_are_means_over_the_images_of_the_epoch_so_far(
    small: SmallTraining, count: int
) -> None:
    images = small.images(count)
    train_state = small.train_state(Recipe(batch_size=8, epochs=2, label_smoothing=0.1), images)
    assert train_state.train_metrics() == (0.0, 0.0)
    sums: list[tuple[float, int, int]] = []

    def watch(pixels: Tensor, labels: Tensor) -> None:
        with torch.no_grad():
            logits = copy.deepcopy(train_state.model).train()(pixels)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum")
        if train_state.step % train_state.steps_per_epoch == 0:
            sums.clear()
        sums.append((float(loss), int((logits.argmax(1) != labels).sum()), len(labels)))

    for event in small.events(train_state, images, yield_every_step=True, on_batch=watch):
        if event.kind == "start":
            continue
        seen = sum(size for _, _, size in sums)
        assert train_state.train_metrics() == (
            pytest.approx(sum(loss for loss, _, _ in sums) / seen, rel=1e-5),
            pytest.approx(100 * sum(wrong for _, wrong, _ in sums) / seen),
        )
    assert train_state.step == train_state.total_steps


@pytest.mark.parametrize("bad", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_step_with_a_non_finite_loss_is_detected(
    small: SmallTraining, bad: int, value: float
) -> None:
    train_state = small.train_state(Recipe(batch_size=8, epochs=2))

    def plant(*_: Tensor) -> None:
        if train_state.step + 1 == bad:
            with torch.no_grad():
                train_state.model.head.bias[0] = value

    steps = [train_state.first_nonfinite_step() for _ in small.events(train_state, on_batch=plant)]
    epoch = math.ceil(bad / 3)
    assert steps[: epoch + 1] == [None] * epoch + [bad]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_non_finite_weight_is_detected_even_if_no_loss_shows_it(
    small: SmallTraining, value: float
) -> None:
    train_state = small.train_state(Recipe(batch_size=8, epochs=1))
    small.run(train_state)
    train_state.model.register_buffer("nothing", torch.empty(0))
    for name, tensor in (("stem_norm", "running_var"), ("head", "weight")):
        assert train_state.first_nonfinite_step() is None
        contents = getattr(getattr(train_state.model, name), tensor).detach().view(-1)
        before = contents[-1].item()
        contents[-1] = value
        assert train_state.first_nonfinite_step() == 3
        contents[-1] = 3e38  # large, and finite
        assert train_state.first_nonfinite_step() is None
        contents[-1] = before


def test_a_train_state_with_an_ema_is_evaluated_with_its_ema(small: SmallTraining) -> None:
    images = small.images()
    train_state = small.train_state(
        Recipe(batch_size=8, epochs=2, ema=0.9, optimizer=SGD(lr=0.3)), images
    )
    small.run(train_state, images)
    ema_model = copy.deepcopy(train_state.model).eval()
    ema_model.load_state_dict(train_state.eval_state_dict())
    train_state.model.eval()
    device_images = DeviceImages.from_images(images, small.cpu)
    x = train_state.normalizer(device_images.pixels)
    with torch.no_grad():
        torch.testing.assert_close(
            train_state.eval_forward_pixels(device_images.pixels),
            ema_model(x),
            rtol=1e-4,
            atol=1e-5,
        )
        assert not torch.allclose(train_state.model(x), ema_model(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("recipe", "seen"),
    [
        (Recipe(steps=1, augment=Augment(crop=6)), 6),
        (Recipe(steps=1, normalize="zca", augment=Augment(crop=4)), 4),
    ],
)
def test_a_network_trained_on_crops_is_evaluated_on_center_crops(
    small: SmallTraining, recipe: Recipe, seen: int
) -> None:
    train_state = small.train_state(recipe)
    device_images = DeviceImages.from_images(small.images(), small.cpu)
    edge = (8 - seen) // 2
    changed = device_images.pixels.clone()
    changed[:, :edge] = changed[:, -edge:] = 255
    with torch.no_grad():
        assert torch.equal(
            train_state.eval_forward_pixels(device_images.pixels),
            train_state.eval_forward_pixels(changed),
        )
        middle = device_images.pixels[:, edge:-edge, edge:-edge]
        train_state.model.eval()
        torch.testing.assert_close(
            train_state.eval_forward_pixels(device_images.pixels),
            train_state.model(train_state.normalizer(middle)),
        )


def test_with_mixup_the_running_metrics_use_mixed_images_and_their_larger_label(
    small: SmallTraining,
) -> None:
    train_state = small.train_state(Recipe(batch_size=8, epochs=1, augment=Augment(mixup=1.0)))
    sums = []

    def watch(images: torch.Tensor, labels: torch.Tensor) -> None:
        model = copy.deepcopy(train_state.model)
        with torch.no_grad():
            logits = model(images).double()
        loss = -(labels.double() * logits.log_softmax(1)).sum(1)
        sums.append(
            (float(loss.sum()), int((logits.argmax(1) != labels.argmax(1)).sum()), len(labels))
        )

    small.run(train_state, on_batch=watch)
    seen = sum(count for *_, count in sums)
    loss, wrong = (sum(row[column] for row in sums) for column in (0, 1))
    assert train_state.train_metrics() == (pytest.approx(loss / seen, rel=1e-5), 100 * wrong / seen)


def test_uniform_images_are_trained_on_without_a_division_by_zero(small: SmallTraining) -> None:
    images = LabeledImages(small.images().pixels * 0 + 9, small.images().labels)
    train_state = small.train_state(Recipe(batch_size=8, epochs=1), images)
    small.run(train_state, images)
    assert train_state.first_nonfinite_step() is None
