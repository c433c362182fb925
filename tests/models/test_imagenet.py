"""Networks for photographs have the weights and logits of torchvision, and are counted without
memory for their weights.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from resnetlab.models.build import build_model, build_uninitialized
from resnetlab.models.configs import ImageNetConfig
from resnetlab.models.convert import convert_key
from resnetlab.models.model_cost import count_parameters, traced_cost
from resnetlab.models.parse import parse_model
from resnetlab.models.weights import load_weights
from resnetlab.training.rng import make_generator

SMALL = [
    ImageNetConfig(blocks=(1, 1, 1, 2), shortcut=shortcut, block=block)
    for shortcut in ("none", "A", "B", "C")
    for block in ("basic", "bottleneck")
]  # type: ignore[arg-type]


def empty(name: str | dict[str, Any], classes: int = 1000) -> nn.Module:
    with torch.device("meta"):
        return build_uninitialized(parse_model(name, ""), 3, classes)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnext50_32x4d",
        "resnext101_32x8d",
    ],
)
def test_torchvision_resnet_weights_load_and_give_the_logits_of_torchvision(name: str) -> None:
    from torchvision.models import get_model

    torch.manual_seed(0)
    theirs = get_model(name, weights=None).eval()
    with torch.no_grad():
        for key, tensor in theirs.state_dict().items():
            if "running" in key:  # as initialized they would hide a norm in another's place
                tensor.uniform_(0.9, 1.1) if "var" in key else tensor.normal_(0, 0.1)
        ours = empty(name).to_empty(device="cpu").eval()
        load_weights(
            ours, {convert_key(key): tensor for key, tensor in theirs.state_dict().items()}, name
        )
        images = torch.randn(2, 3, 64, 64)
        expected = theirs(images)
        assert float(expected.std()) > 0.01
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)
    assert count_parameters(ours) == count_parameters(theirs)


def test_torchvision_vgg_weights_give_the_logits_of_our_network() -> None:
    """With narrower linear layers in both: those of the paper alone take half a gigabyte."""
    from torchvision.models import vgg16

    torch.manual_seed(0)
    with torch.device("meta"):
        network = vgg16(weights=None, init_weights=False)
        assert count_parameters(network) == count_parameters(
            build_uninitialized(parse_model("vgg16", ""), 3, 1000)
        )
        theirs = vgg16(weights=None, init_weights=False)
        theirs.classifier = nn.Sequential(
            nn.Linear(25088, 8),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(8, 8),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(8, 10),
        )
    theirs = theirs.to_empty(device="cpu").eval()
    ours = build_model(
        parse_model({"name": "vgg16", "hidden": 8}, ""),
        3,
        10,
        lambda n: make_generator(0, "init", n),
    ).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    with torch.no_grad():
        images = torch.randn(2, 3, 64, 64)
        expected = theirs(images)
        assert float(expected.std()) > 1e-3
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)


def test_the_parameters_of_a_wide_network_are_counted_without_allocating_it() -> None:
    network = empty("resnext101_32x48d")
    assert count_parameters(network) == 828_411_176
    fine = empty("resnext101_32x48d", classes=120)
    for name, parameter in fine.named_parameters():
        parameter.requires_grad_(name.startswith("head."))
    assert (count_parameters(fine, trainable=True), count_parameters(fine)) == (
        245_880,
        826_608_056,
    )


@pytest.mark.parametrize("config", SMALL, ids=lambda config: f"{config.shortcut}-{config.block}")
@pytest.mark.parametrize("side", [64, 33, 1])
def test_the_cost_of_a_config_equals_the_built_network(config: ImageNetConfig, side: int) -> None:
    assert config.cost(3, 7, side) == traced_cost(config, 3, 7, side)


@pytest.mark.parametrize("name", ["plain18", "plain34"])
def test_a_plain_network_is_the_residual_network_without_shortcuts(name: str) -> None:
    plain, residual = empty(name).state_dict(), empty(name.replace("plain", "resnet")).state_dict()
    assert list(plain) == [key for key in residual if "shortcut" not in key]
    assert any("shortcut" in key for key in residual)


def test_the_shortcut_options_have_the_expected_numbers_of_projections() -> None:
    counts = {
        option: sum(
            "shortcut.conv" in key
            for key in empty({"name": "resnet18", "shortcut": option}).state_dict()
        )
        for option in ("A", "B", "C")
    }
    assert counts == {"A": 0, "B": 3, "C": 8}


def test_plain_and_residual_networks_start_from_the_same_weights() -> None:
    specs = (ImageNetConfig(blocks=(1, 1, 1, 1), shortcut=option) for option in ("none", "B"))
    plain, residual = (
        build_model(s, 3, 10, lambda n: make_generator(4, "init", n)).state_dict() for s in specs
    )
    assert all(torch.equal(plain[name], residual[name]) for name in plain)
    sd = float(residual["stages.3.0.conv2.weight"].std())
    assert sd == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)


def test_stride_on_first_or_middle_halves_the_same_stages_at_different_cost() -> None:
    first, middle = (
        empty({"name": "resnet50", "stride_on": where}).stages[1][0]  # type: ignore[index]
        for where in ("first", "middle")
    )
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
    assert (middle.conv1.stride, middle.conv2.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize(
    ("table", "slug", "title"),
    [
        ("resnet50", "resnet50", "ResNet-50"),
        ("plain34", "plain34", "plain 34 (ImageNet)"),
        ({"name": "resnet34", "shortcut": "C"}, "resnet34+", "ResNet-34 (C)"),
        ("resnext101_32x8d", "resnext101_32x8d", "ResNeXt-101 32x8d"),
        ({"name": "resnet50", "stride_on": "first"}, "resnet50+", "ResNet-50 (stride on first)"),
        ({"family": "imagenet", "blocks": [1, 1, 1, 1]}, "resnet10+", "ResNet-10"),
    ],
)
def test_networks_have_the_expected_names_and_titles(table: Any, slug: str, title: str) -> None:
    config = parse_model(table, "")
    assert (config.slug, config.title) == (slug, title)
