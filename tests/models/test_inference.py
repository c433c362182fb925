"""Folding of batch normalization gives the same outputs for every family of networks, and is not
done where the outputs would differ.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from helpers.networks import build
from resnetlab.models.configs import (
    AlexNetCifarConfig,
    CifarConfig,
    DenseNetConfig,
    ImageNetConfig,
    LeNet5Config,
    ModelConfig,
    VGGConfig,
)
from resnetlab.models.inference import foldable_pairs, prepare_for_inference
from resnetlab.models.parse import parse_model
from resnetlab.models.registry import registered_models
from resnetlab.training.rng import make_generator

TOLERANCE = 1e-9
"""Largest difference of an output in fp64, relative to max(1, largest output)."""


def random_images(side: int, channels: int = 3) -> Tensor:
    generator = make_generator(0, "images")
    return torch.randn(2, channels, side, side, generator=generator).double()


def randomize(model: nn.Module, images: Tensor) -> nn.Module:
    """Give each batch norm the statistics of its inputs, and a random weight and bias.

    The network computes in fp64, in which a wrong fold differs from rounding in every network.
    """
    model.double()
    generator = torch.Generator().manual_seed(0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        nn.init.normal_(norm.bias, 0, 0.3, generator=generator)
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        result: Tensor = model(images)
    return result


def check_equal(model: nn.Module, images: Tensor) -> nn.Module:
    """Check the outputs of the prepared network in both memory formats; return it."""
    expected = outputs(model, images)
    limit = TOLERANCE * max(1.0, float(expected.abs().max()))
    for memory_format in (torch.contiguous_format, torch.channels_last):
        prepared = prepare_for_inference(model, memory_format)
        given = outputs(prepared, images.contiguous(memory_format=memory_format))
        assert float((given - expected).abs().max()) <= limit
        assert torch.equal(outputs(model, images), expected)
    return prepared


def count_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def one_of_each_kind() -> list[tuple[str, ModelConfig]]:
    """Return the first registered network of each family, block and shortcut.

    VGG and AlexNet have no batch norm unless a study asks for it, and LeNet-5 never has.
    """
    kinds: dict[object, tuple[str, ModelConfig]] = {}
    for entry in registered_models():
        if isinstance(entry.model, AlexNetCifarConfig | LeNet5Config | VGGConfig):
            continue
        fields = (getattr(entry.model, name, None) for name in ("block", "shortcut"))
        grouped = getattr(entry.model, "cardinality", 1) > 1
        kinds.setdefault((type(entry.model), *fields, grouped), (entry.name, entry.model))
    return list(kinds.values())


@pytest.mark.parametrize(("name", "config"), one_of_each_kind())
def test_every_registered_family_has_the_same_outputs(name: str, config: ModelConfig) -> None:
    images = random_images(64 if isinstance(config, ImageNetConfig) else 28)
    model = randomize(build(config), images)
    prepared = check_equal(model, images)
    # In this DenseNet, every batch norm comes after a concatenation.
    unfolded = count_norms(model) if isinstance(config, DenseNetConfig) else 0
    assert count_norms(prepared) == unfolded, name


@pytest.mark.parametrize(
    "config",
    [
        VGGConfig(convolutions=(2, 1), widths=(4, 8), hidden=8, batch_norm=True),
        AlexNetCifarConfig(batch_norm=True),
    ],
)
def test_families_with_batch_norm_by_choice_have_the_same_outputs(config: ModelConfig) -> None:
    images = random_images(32)
    model = randomize(build(config), images)
    assert count_norms(model) > 0
    assert count_norms(check_equal(model, images)) == 0


@pytest.mark.parametrize(
    ("arrangement", "unfolded"),
    [
        ("original", 0),
        ("norm-after-addition", 2),
        ("relu-before-addition", 0),
        ("relu-only-preactivation", 0),
        ("full-preactivation", 2),
    ],
)
def test_every_arrangement_of_a_block_has_the_same_outputs(arrangement: str, unfolded: int) -> None:
    """The last norm of a block is behind an addition, or the first one; all others are folded."""
    config = CifarConfig(blocks=(1, 1), widths=(8, 16), shortcut="B", arrangement=arrangement)  # type: ignore[arg-type]
    images = random_images(16)
    prepared = check_equal(randomize(build(config), images), images)
    assert count_norms(prepared) == unfolded


@pytest.mark.parametrize(
    "source",
    [
        "torchvision/densenet121",
        "torchvision/mobilenet_v3_small",
        "torchvision/shufflenet_v2_x0_5",
        "timm/mobilenetv2_035",
        "timm/regnety_002",
        "timm/resnet26d",
    ],
)
def test_networks_of_torchvision_and_timm_have_the_same_outputs(source: str) -> None:
    images = random_images(64)
    model = randomize(build(parse_model(source, "")), images)
    assert count_norms(check_equal(model, images)) < count_norms(model)


def test_the_network_itself_does_not_change() -> None:
    model = timm.create_model("resnet18", num_classes=3).train()
    before = copy.deepcopy(model.state_dict())
    strides = {name: tensor.stride() for name, tensor in before.items()}
    prepared = prepare_for_inference(model, torch.channels_last)
    assert not prepared.training
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.stride() == strides[name]
    assert prepared.get_classifier().weight is model.get_classifier().weight


class Pair(nn.Module):
    """A convolution and a batch norm, used in one of several ways."""

    def __init__(self, forward: Callable[[Pair, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.use = forward

    def forward(self, images: Tensor) -> Tensor:
        return self.use(self, images)


USES: dict[str, Callable[[Pair, Tensor], Tensor]] = {
    "convolution twice": lambda m, x: m.norm2(m.conv(F.relu(m.norm(m.conv(x))))),
    "batch norm twice": lambda m, x: m.norm(F.relu(m.norm(m.conv(x)))),
    "output elsewhere too": lambda m, x: m.norm(y := m.conv(x)) + y,
    "two batch norms of one output": lambda m, x: m.norm(y := m.conv(x)) + m.norm2(y),
    "ReLU between": lambda m, x: m.norm(F.relu(m.conv(x))),
    "weight read": lambda m, x: m.norm(m.conv(x)) + m.conv.weight.mean(),
    "statistics read": lambda m, x: m.norm(m.conv(x)) + m.norm.running_mean.mean(),
    "bias added later": lambda m, x: m.norm(F.conv2d(x, m.conv.weight, padding=1) + 1),
    "values decide": lambda m, x: m.norm(m.conv(x)) if x.sum() > -1e9 else x,
    "shape decides": lambda m, x: m.norm(m.conv(x)) if x.shape[-1] > 2 else x,
    "returned too": lambda m, x: torch.cat([y := m.conv(x), m.norm(y)]),
}


@pytest.mark.parametrize("use", USES)
def test_nothing_is_folded_where_the_outputs_would_differ(use: str) -> None:
    images = random_images(8, channels=4)
    model = randomize(Pair(USES[use]), images)
    assert foldable_pairs(model) == []
    assert torch.equal(outputs(prepare_for_inference(model), images), outputs(model, images))


class Doubled(nn.Conv2d):
    """Convolution of another package, which does not compute what its class does."""

    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


def with_subclass(model: Pair) -> None:
    model.conv = Doubled(4, 4, 3, padding=1)


def with_hook(model: Pair) -> None:
    model.conv.register_forward_hook(lambda _, __, output: output.clamp(min=0))


def with_forward(model: Pair) -> None:
    usual = model.conv.forward
    model.conv.forward = lambda images: usual(images).abs()  # type: ignore[method-assign]


def with_weight_norm(model: Pair) -> None:
    parametrizations.weight_norm(model.conv)


def with_two_names(model: Pair) -> None:
    model.alias = model.norm


def without_statistics(model: Pair) -> None:
    model.norm = nn.BatchNorm2d(4, track_running_stats=False)


@pytest.mark.parametrize(
    "change",
    [with_subclass, with_hook, with_forward, with_weight_norm, with_two_names, without_statistics],
)
def test_modules_with_something_of_their_own_are_not_folded(
    change: Callable[[Pair], None],
) -> None:
    images = random_images(8, channels=4)
    model = Pair(lambda m, x: m.norm(m.conv(x)))
    assert foldable_pairs(model.eval()) == [("conv", "norm")]
    change(model)
    model = randomize(model, images)
    assert foldable_pairs(model) == []
    assert torch.equal(outputs(prepare_for_inference(model), images), outputs(model, images))


def test_a_network_that_cannot_be_copied_is_used_itself() -> None:
    model = Pair(lambda m, x: m.norm(m.conv(x))).eval()
    model.lock = threading.Lock()
    assert prepare_for_inference(model) is model
