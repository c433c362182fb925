"""LeNet-5, the practical's AlexNet, VGG and DenseNet compute the published functions, and refuse
images of a wrong size.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.errors import InputError
from resnetlab.models.build import build_model
from resnetlab.models.configs import (
    AlexNetCifarConfig,
    DenseNetConfig,
    LeNet5Config,
    ModelConfig,
    VGGConfig,
)
from resnetlab.models.model_cost import traced_cost
from resnetlab.models.parse import parse_model
from resnetlab.training.rng import make_generator

TINY_VGG = VGGConfig(convolutions=(1, 2), widths=(3, 4), hidden=6)


def build(config: ModelConfig, channels: int = 3) -> nn.Module:
    model = (
        build_model(config, channels, 5, lambda name: make_generator(0, "init", name))
        .double()
        .eval()
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(noise + 0.5)
    return model


def norm(s: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, variance, weight, bias = (
        s[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def conv(s: dict[str, Tensor], name: str, x: Tensor, padding: int) -> Tensor:
    return F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), padding=padding)


def full(s: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def lenet(s: dict[str, Tensor], x: Tensor) -> Tensor:
    x = F.max_pool2d(conv(s, "conv1", x, 2).tanh(), 2)
    x = F.max_pool2d(conv(s, "conv2", x, 0).tanh(), 2).flatten(1)
    return full(s, "fc5", full(s, "fc4", full(s, "fc3", x).tanh()).tanh())


def alexnet(s: dict[str, Tensor], x: Tensor) -> Tensor:
    for layer in (1, 2, 3):
        x = conv(s, f"conv{layer}", x, 2)
        x = norm(s, f"norm{layer}", x) if f"norm{layer}.weight" in s else x
        x = F.max_pool2d(x.relu(), 2, ceil_mode=layer == 3)
    return full(s, "fc5", full(s, "fc4", x.flatten(1)).relu())


def vgg(s: dict[str, Tensor], x: Tensor) -> Tensor:
    x = F.max_pool2d(conv(s, "stages.0.0.conv", x, 1).relu(), 2)
    x = conv(s, "stages.1.1.conv", conv(s, "stages.1.0.conv", x, 1).relu(), 1).relu()
    x = F.adaptive_avg_pool2d(F.max_pool2d(x, 2), 7).flatten(1)
    return full(s, "fc3", full(s, "fc2", full(s, "fc1", x).relu()).relu())


def dense(s: dict[str, Tensor], x: Tensor) -> Tensor:
    x = conv(s, "stem", x, 1)
    for block in range(3):
        collected = [x]
        for layer in range(2):
            name = f"blocks.{block}.{layer}"
            taken = norm(s, f"{name}.norm", torch.cat(collected, 1)).relu()
            collected.append(conv(s, f"{name}.conv", taken, 1))
        x = torch.cat(collected, 1)
        if block < 2:
            name = f"transitions.{block}"
            x = F.avg_pool2d(conv(s, f"{name}.conv", norm(s, f"{name}.norm", x).relu(), 0), 2)
    return full(s, "head", norm(s, "norm", x).relu().mean((2, 3)))


CASES: dict[str, tuple[ModelConfig, Any, int]] = {
    "lenet5": (LeNet5Config(), lenet, 28),
    "alexnet": (AlexNetCifarConfig(), alexnet, 32),
    "alexnet, 28": (AlexNetCifarConfig(ceil_mode=True, dropout=0.5), alexnet, 28),
    "alexnet, batch norm": (AlexNetCifarConfig(batch_norm=True), alexnet, 32),
    "vgg": (TINY_VGG, vgg, 20),
    "densenet": (DenseNetConfig(depth=10, growth=3, stem=5), dense, 9),
}


@pytest.mark.parametrize(("config", "reference", "side"), CASES.values(), ids=CASES)
def test_a_network_equals_a_reference_implementation_of_its_source(
    config: ModelConfig, reference: Any, side: int
) -> None:
    model = build(config)
    images = torch.randn(
        2, 3, side, side, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    torch.testing.assert_close(
        model(images), reference(dict(model.state_dict()), images), rtol=1e-9, atol=1e-9
    )
    assert config.cost(3, 5, side) == traced_cost(config, 3, 5, side)


def test_vgg16_has_the_parameter_shapes_of_torchvision() -> None:
    from torchvision.models import get_model

    with torch.device("meta"):
        theirs = get_model("vgg16", weights=None)
        from resnetlab.models.build import build_uninitialized

        ours = build_uninitialized(parse_model("vgg16", ""), 3, 1000)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


def test_dropout_is_between_the_two_linear_layers_and_off_in_evaluation() -> None:
    model = build(AlexNetCifarConfig(dropout=0.5)).train()
    seen: list[Tensor] = []
    model.fc5.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    torch.manual_seed(0)
    model(images)
    model.eval()(images)
    alive = seen[1] > 0
    assert 0.35 < (seen[0][alive] == 0).double().mean() < 0.65
    active = alive & (seen[0] > 0)
    torch.testing.assert_close(seen[0][active], 2 * seen[1][active])


@pytest.mark.parametrize(
    ("name", "side", "line"),
    [
        (
            "lenet5",
            32,
            (
                "lenet5: images of 32x32 pixels: layer fc3 takes maps of 5x5 and gets 6x6. "
                "Fix: the smallest images that it takes are 28x28 pixels, the largest 31x31"
            ),
        ),
        (
            "alexnet-cifar",
            28,
            (
                "alexnet-cifar: images of 28x28 pixels: layer fc4 takes maps of 4x4 and gets 3x3. "
                "Fix: the smallest images that it takes are 32x32 pixels, the largest 39x39"
            ),
        ),
        (
            "vgg16",
            31,
            (
                "vgg16: images of 31x31 pixels: layer pool 5 takes maps of at least 2x2 and gets "
                "1x1. Fix: the smallest images that it takes are 32x32 pixels"
            ),
        ),
        (
            "densenet40-k12",
            3,
            (
                "densenet40-k12: images of 3x3 pixels: layer transitions.1.pool takes maps of at "
                "least 2x2 and gets 1x1. Fix: the smallest images that it takes are 4x4 pixels"
            ),
        ),
    ],
)
def test_an_image_that_is_too_small_is_refused_with_the_layer_and_the_smallest_size(
    name: str, side: int, line: str
) -> None:
    config = parse_model(name, "")
    with pytest.raises(InputError) as error:
        config.cost(3, 10, side)
    assert str(error.value) == line
    if name != "vgg16":
        with pytest.raises(InputError) as raised:
            build(config)(torch.zeros(1, 3, side, side, dtype=torch.float64))
        assert str(raised.value) == line


@pytest.mark.parametrize(("name", "low", "high"), [("lenet5", 28, 31), ("alexnet-cifar", 32, 39)])
def test_accepted_image_sizes_give_logits(name: str, low: int, high: int) -> None:
    config = parse_model(name, "")
    model = build(config)
    for side in (low, high):
        assert model(torch.zeros(1, 3, side, side, dtype=torch.float64)).shape == (1, 5)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"family": "densenet", "depth": 41}, "model.depth: 41 is not 3n + 4. Fix: 40 or 43"),
        ("densenet41-k12", "model: 41 is not 3n + 4. Fix: 40 or 43"),
        (
            {"family": "vgg", "widths": []},
            "model.widths: empty. Fix: widths = [64, 128, 256, 512, 512]",
        ),
        (
            {"name": "alexnet-cifar", "ceil": True},
            (
                "model.ceil: unknown field (allowed: batch_norm, ceil_mode, dropout, family, "
                "init, name). "
                'Fix: did you mean "ceil_mode"?'
            ),
        ),
        (
            {"family": "vg"},
            (
                'model.family: unknown (got "vg"; allowed: cifar, imagenet, lenet5, '
                "alexnet-cifar, vgg, "
                'densenet, external, bag-of-words). Fix: did you mean "vgg"?'
            ),
        ),
        (
            {"family": "imagenet", "blocks": [1, 1, 1, 1], "cardinality": 32},
            'model.block: only a bottleneck has groups. Fix: block = "bottleneck"',
        ),
        ("resnet51", 'model: unknown model (got resnet51). Fix: did you mean "resnet50"?'),
        ("lenet", 'model: unknown model (got lenet). Fix: did you mean "lenet5"?'),
    ],
)
def test_mistakes_in_other_families_are_reported(value: Any, line: str) -> None:
    with pytest.raises(InputError) as error:
        parse_model(value, "s.toml")
    assert str(error.value) == f"s.toml: {line}"


def test_a_name_with_changed_fields_is_another_network() -> None:
    config = parse_model({"name": "alexnet-cifar", "ceil_mode": True, "dropout": 0.5}, "")
    assert config == AlexNetCifarConfig(ceil_mode=True, dropout=0.5)
    assert (config.slug, config.title) == (
        "alexnet-cifar+",
        "AlexNet for CIFAR (ceil mode, dropout 0.5)",
    )


def test_vgg16_of_the_paper_is_vgg16_without_the_pooling_before_its_linear_layers() -> None:
    small = {"widths": [2] * 5, "hidden": 8}
    ours, paper = (
        build_model(
            parse_model({"name": name, **small}, ""),
            3,
            5,
            lambda part: make_generator(0, "init", part),
        ).eval()
        for name in ("vgg16", "vgg16-paper")
    )
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(images), paper(images))
    assert ours(torch.zeros(1, 3, 256, 256)).shape == (1, 5)
    with pytest.raises(InputError, match="layer fc1 takes maps of 7x7 and gets 8x8"):
        paper(torch.zeros(1, 3, 256, 256))
    assert parse_model("vgg16-paper", "").cost(3, 1000, 224)[0] == 138_357_544
    assert parse_model("vgg19", "").cost(3, 1000, 224)[0] == 143_667_240  # torchvision's
