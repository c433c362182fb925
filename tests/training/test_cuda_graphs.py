"""Captured steps have the bits of eager ones, on the CPU with a stand-in for CUDA graphs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.fake_cuda_graphs import FakeCudaGraphs
from helpers.small_training import SmallTraining
from resnetlab.data.config import Augment, RandAugment
from resnetlab.data.device_images import DeviceImages
from resnetlab.models.configs import CifarConfig
from resnetlab.models.configs.dense import DenseNetConfig
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import SGD, Adam, AdamW, Cosine, OneCycle, Recipe, RMSprop
from resnetlab.training import cuda_graphs
from resnetlab.training.distributed import World
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.make_step import find_eager_reason

Same = Callable[[dict[str, Tensor], dict[str, Tensor]], None]


@pytest.fixture
def fake_graphs(monkeypatch: pytest.MonkeyPatch) -> type[FakeCudaGraphs]:
    """Let the CPU capture steps, and RMSprop take its capturable form."""
    kind = type("Fresh", (FakeCudaGraphs,), {})
    monkeypatch.setattr("resnetlab.training.make_step.CudaGraphs", kind)
    monkeypatch.setattr(
        importlib.import_module("torch.optim.rmsprop"),
        "_get_capturable_supported_devices",
        lambda: ["cpu"],
    )
    return kind


SHORT: dict[str, Any] = {
    "batch_size": 6,
    "steps": 14,
}  # 20 images: 4 steps an epoch, the last of 2 images
NETWORK = CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8))
CASES = {
    "momentum, falling rate": Recipe(
        optimizer=SGD(lr=0.05, nesterov=True, weight_decay=1e-3), schedule=Cosine(), **SHORT
    ),
    "no momentum": Recipe(
        optimizer=SGD(lr=0.05, momentum=0.0), schedule=Cosine(warmup=0.3), **SHORT
    ),
    "adam": Recipe(optimizer=Adam(), schedule=OneCycle(), **SHORT),
    "adamw, two groups": Recipe(
        optimizer=AdamW(), schedule=Cosine(), decay_norm_and_bias=False, **SHORT
    ),
    "rmsprop": Recipe(optimizer=RMSprop(), schedule=Cosine(), **SHORT),
    "average, clipped": Recipe(
        optimizer=SGD(lr=0.05), ema=0.9, clip_norm=1.0, schedule=Cosine(), **SHORT
    ),
    "augmented": Recipe(
        optimizer=SGD(lr=0.05),
        augment=Augment(crop_padding=2, flip=True, cutout=3),
        label_smoothing=0.1,
        schedule=Cosine(),
        **SHORT,
    ),
}


class Gpu:
    """Maker of train states on the CPU whose steps may be captured as CUDA graphs."""

    def __init__(self, small: SmallTraining) -> None:
        self.small = small

    def train_state(
        self, recipe: Recipe, model: Any = NETWORK, precision: str = "fp32", **more: Any
    ) -> FromScratchState:
        """Return a train state as `small.train_state` does, with CUDA graphs on."""
        settings: dict[str, Any] = {
            "cuda_graphs": "on",
            "grad_accum_steps": more.pop("grad_accum_steps", 1),
        }
        numerics = Numerics(
            device="cpu", precision=precision, memory_format="channels_last", threads=1, **settings
        )  # type: ignore[arg-type]
        return FromScratchState(
            model, recipe, numerics, 5, self.small.images(), 4, self.small.cpu, **more
        )

    def eager(self, recipe: Recipe, **options: Any) -> FromScratchState:
        """Return a train state trained to its end by eager steps, which are the definition."""
        train_state = self.train_state(recipe, **options)
        self.small.run(train_state, make_step=self.small.eager)
        return train_state


@pytest.fixture
def gpu(small: SmallTraining) -> Gpu:
    return Gpu(small)


# Equal bits with and without graphs
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", CASES)
def test_a_captured_run_has_the_bits_of_an_eager_one(
    small: SmallTraining,
    gpu: Gpu,
    same: Same,
    fake_graphs: type[FakeCudaGraphs],
    case: str,
    precision: str,
) -> None:
    eager = gpu.eager(CASES[case], precision=precision)
    train_state = gpu.train_state(CASES[case], precision=precision)
    small.run(train_state)
    assert train_state.eager_reason == ""
    # 14 steps: 3 of them short, 3 to warm up, the others replayed.
    assert (fake_graphs.captured, fake_graphs.replayed) == (1, 8)
    same(train_state.state_dict(), eager.state_dict())
    assert train_state.train_metrics() == eager.train_metrics()


def test_gradient_accumulation_is_captured(
    small: SmallTraining, gpu: Gpu, same: Same, fake_graphs: type[FakeCudaGraphs]
) -> None:
    train_state = gpu.train_state(CASES["augmented"], grad_accum_steps=2)
    small.run(train_state)
    assert fake_graphs.replayed == 8
    same(train_state.state_dict(), gpu.eager(CASES["augmented"], grad_accum_steps=2).state_dict())


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8), shortcut="B"), {"normalize": "per-image"}),
        (
            CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8), batch_norm=False, shortcut="none"),
            {"normalize": "zca"},
        ),
        (DenseNetConfig(depth=7, growth=4, stem=4), {"augment": Augment(crop=8, flip=True)}),
    ],
)
def test_other_networks_and_loss_scales_are_captured(
    small: SmallTraining,
    gpu: Gpu,
    same: Same,
    fake_graphs: type[FakeCudaGraphs],
    model: Any,
    settings: dict[str, Any],
) -> None:
    recipe = Recipe(optimizer=SGD(lr=0.05), **SHORT, **settings)
    train_state = gpu.train_state(recipe, model=model)
    small.run(train_state)
    assert (train_state.eager_reason, fake_graphs.replayed) == ("", 8)
    same(train_state.state_dict(), gpu.eager(recipe, model=model).state_dict())


@pytest.mark.parametrize("case", ["adam", "average, clipped"])
def test_a_run_stopped_between_replays_and_restored_has_the_bits_of_an_uninterrupted_one(
    small: SmallTraining, gpu: Gpu, same: Same, fake_graphs: type[FakeCudaGraphs], case: str
) -> None:
    uninterrupted = gpu.eager(CASES[case])
    first = gpu.train_state(CASES[case])
    for step in range(SHORT["steps"] + 1):
        small.run(first, until=step)
        second = gpu.train_state(CASES[case])
        second.load_state_dict(small.snapshot(first), step)
        assert second.train_metrics() == first.train_metrics()
        small.run(second)
        same(second.state_dict(), uninterrupted.state_dict())
    assert fake_graphs.replayed


def test_work_of_the_caller_between_replays_changes_no_bit(
    small: SmallTraining, gpu: Gpu, same: Same, fake_graphs: type[FakeCudaGraphs]
) -> None:
    train_state = gpu.train_state(CASES["average, clipped"])
    device_images = DeviceImages.from_images(small.images(), small.cpu)
    for _ in small.events(train_state, yield_every_step=True):
        torch.rand(7)
        with torch.no_grad():
            train_state.model.eval()
            train_state.eval_forward_pixels(device_images.pixels)
            train_state.model.train()
    assert fake_graphs.replayed == 8
    same(train_state.state_dict(), gpu.eager(CASES["average, clipped"]).state_dict())


# Captures that give wrong results
# ------------------------------------------------------------------------------

STALE: dict[str, Callable[[Any], Tensor]] = {
    "the learning rate": lambda step: step.state.optimizer.param_groups[0]["lr"],
    "the place in the epoch": lambda step: step.batch_start,
    "the order of the epoch": lambda step: step.draws.order,
    "the crops of the epoch": lambda step: step.draws.crop_offset,
}


@pytest.mark.parametrize("stale", STALE)
def test_the_comparison_of_bits_detects_a_replay_with_stale_values(
    small: SmallTraining,
    gpu: Gpu,
    fake_graphs: type[FakeCudaGraphs],
    monkeypatch: pytest.MonkeyPatch,
    stale: str,
) -> None:
    """These tests can fail: without the steps taken both ways a broken capture ends with other
    bits.
    """
    monkeypatch.setattr(cuda_graphs, "VERIFY_STEPS", 0)
    eager = gpu.eager(CASES["augmented"])
    fake_graphs.stale = (STALE[stale],)
    train_state = gpu.train_state(CASES["augmented"])
    small.run(train_state)
    assert fake_graphs.replayed == 8
    assert any(
        not torch.equal(tensor, eager.state_dict()[name])
        for name, tensor in train_state.state_dict().items()
    )


@pytest.mark.parametrize("stale", ["the learning rate", "the place in the epoch"])
def test_verification_detects_a_stale_replay_and_the_run_stays_eager(
    small: SmallTraining, gpu: Gpu, same: Same, fake_graphs: type[FakeCudaGraphs], stale: str
) -> None:
    fake_graphs.stale = (STALE[stale],)
    train_state = gpu.train_state(CASES["augmented"])
    small.run(train_state)
    assert train_state.eager_reason.startswith(
        "a replayed step differs from an eager one in model/"
    )
    assert fake_graphs.replayed == 2, "the first has the recorded step's own batch and rate"
    same(train_state.state_dict(), gpu.eager(CASES["augmented"]).state_dict())


def test_code_that_synchronizes_with_the_device_during_a_step_makes_steps_eager(
    small: SmallTraining,
    gpu: Gpu,
    same: Same,
    fake_graphs: type[FakeCudaGraphs],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    eager = gpu.eager(CASES["momentum, falling rate"])
    loss = FromScratchState.loss

    def asks(self: FromScratchState, logits: Tensor, labels: Tensor) -> Tensor:
        value = loss(self, logits, labels)
        assert value.item() == value.item()
        return value

    monkeypatch.setattr(FromScratchState, "loss", asks)
    train_state = gpu.train_state(CASES["momentum, falling rate"])
    small.run(train_state)
    assert (
        train_state.eager_reason
        == "a step cannot be captured: operation not permitted when stream is capturing"
    )
    assert fake_graphs.replayed == 0
    same(train_state.state_dict(), eager.state_dict())


@pytest.mark.parametrize("step", [4, 5])
def test_the_recorded_step_is_dropped_if_memory_is_too_small_for_both(
    small: SmallTraining,
    gpu: Gpu,
    same: Same,
    fake_graphs: type[FakeCudaGraphs],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    eager, loss = gpu.eager(CASES["augmented"]), FromScratchState.loss
    raised: list[int] = []

    def short(self: FromScratchState, logits: Tensor, labels: Tensor) -> Tensor:
        # After the forward pass, which has moved the running statistics.
        if fake_graphs.captured and self.step == step and not raised:
            raised.append(step)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return loss(self, logits, labels)

    monkeypatch.setattr(FromScratchState, "loss", short)
    train_state = gpu.train_state(CASES["augmented"])
    small.run(train_state)
    assert raised
    assert (
        train_state.eager_reason
        == "there is too little memory for a captured step beside an eager one"
    )
    same(train_state.state_dict(), eager.state_dict())


def test_a_network_that_draws_random_numbers_stays_eager(
    small: SmallTraining, gpu: Gpu, same: Same, fake_graphs: type[FakeCudaGraphs]
) -> None:
    dropping = CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8), dropout=0.3)
    train_state = gpu.train_state(CASES["augmented"], model=dropping)
    small.run(train_state)
    assert (train_state.eager_reason, fake_graphs.captured) == ("a layer draws random numbers", 0)
    same(train_state.state_dict(), gpu.eager(CASES["augmented"], model=dropping).state_dict())


def test_a_step_with_a_non_finite_loss_is_equal_in_eager_and_replayed_form(
    small: SmallTraining, gpu: Gpu, fake_graphs: type[FakeCudaGraphs]
) -> None:
    train_state = gpu.train_state(Recipe(optimizer=SGD(lr=1e30), **SHORT))
    small.run(train_state)
    assert train_state.first_nonfinite_step() is not None
    assert (train_state.eager_reason, fake_graphs.replayed) == ("", 8)


# Steps that are not captured
# -------------------------------------------------------------------------------------------------


def test_each_reason_for_eager_steps_has_its_message(small: SmallTraining, gpu: Gpu) -> None:
    recipe = CASES["augmented"]
    assert find_eager_reason(gpu.train_state(recipe)) == ""
    assert find_eager_reason(small.train_state(recipe)) == "only steps on a GPU are captured"
    drawn = Recipe(augment=Augment(randaugment=RandAugment()), **SHORT)
    assert (
        find_eager_reason(gpu.train_state(drawn))
        == "RandAugment's operations are chosen on the processor"
    )
    train_state = gpu.train_state(recipe)
    train_state.world = World(0, 2, 0)
    assert find_eager_reason(train_state) == "several processes share each batch"


def test_on_the_cpu_the_learning_rate_is_a_number_and_nothing_is_captured(
    small: SmallTraining,
) -> None:
    train_state = small.train_state(CASES["adam"])
    small.run(train_state)
    assert train_state.eager_reason == "only steps on a GPU are captured"
    assert all(isinstance(group["lr"], float) for group in train_state.optimizer.param_groups)
