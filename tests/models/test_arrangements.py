"""The five arrangements of a block (He et al. 2016b, fig. 4), gates, bottlenecks, and table 1 of
the depth report are built as published.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.models.build import build_model
from resnetlab.models.configs import CifarConfig, cifar_config
from resnetlab.models.configs.cifar import DEPTH_REPORT
from resnetlab.models.model_cost import traced_cost
from resnetlab.models.parse import parse_model
from resnetlab.training.rng import make_generator

ARRANGEMENTS = [
    "original",
    "norm-after-addition",
    "relu-before-addition",
    "relu-only-preactivation",
    "full-preactivation",
]
BLOCKS = ["basic", "bottleneck"]
SHORTCUTS = ["none", "A", "B", "C", "gated"]


def build(config: CifarConfig, seed: int = 0) -> nn.Module:
    """In double precision, with normalizations that are not the identity."""
    model = (
        build_model(config, 3, 5, lambda name: make_generator(seed, "init", name)).double().eval()
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(noise + 0.5)
            if name.endswith("gate.bias"):
                tensor.zero_()
    return model


def reference(state: dict[str, Tensor], config: CifarConfig, x: Tensor) -> Tensor:
    """Return the network from its weights alone, a formula an arrangement."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state.get(f"{name}.bias"), stride, weight.shape[2] // 2)

    count = 2 if config.block == "basic" else 3
    x = F.relu(norm("stem_norm", conv("stem", x)))
    beginning = True
    for stage, blocks in enumerate(config.blocks):
        for block in range(blocks):
            name, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            strides = [stride] + [1] * (count - 1)
            numbers = range(1, count + 1)
            way, y = x, x
            match config.arrangement:
                case "full-preactivation":
                    for i in numbers:
                        y = y if beginning and i == 1 else F.relu(norm(f"{name}.norm{i}", y))
                        way = y if i == 1 and f"{name}.shortcut.conv.weight" in state else way
                        y = conv(f"{name}.conv{i}", y, strides[i - 1])
                case "relu-only-preactivation":
                    for i in numbers:
                        y = norm(
                            f"{name}.norm{i}", conv(f"{name}.conv{i}", F.relu(y), strides[i - 1])
                        )
                case "relu-before-addition":
                    for i in numbers:
                        y = F.relu(
                            norm(f"{name}.norm{i}", conv(f"{name}.conv{i}", y, strides[i - 1]))
                        )
                case _:
                    for i in numbers:
                        y = conv(f"{name}.conv{i}", y, strides[i - 1])
                        if i < count:
                            y = F.relu(norm(f"{name}.norm{i}", y))
                    y = norm(f"{name}.norm{count}", y) if config.arrangement == "original" else y
            if f"{name}.shortcut.conv.weight" in state:
                way = conv(f"{name}.shortcut.conv", way, stride)
                if config.arrangement != "full-preactivation":
                    way = norm(f"{name}.shortcut.norm", way)
            elif config.shortcut != "none":
                padded = torch.zeros_like(y)
                more = (y.shape[1] - x.shape[1]) // 2
                padded[:, more : more + x.shape[1]] = x[:, :, ::stride, ::stride]
                way = padded
            if config.shortcut == "gated":
                gate = torch.sigmoid(conv(f"{name}.shortcut.gate", x, stride))
                y = gate * y + (1 - gate) * way
            elif config.shortcut != "none":
                y = y + way
            if config.arrangement == "norm-after-addition":
                y = norm(f"{name}.norm{count}", y)
            x = F.relu(y) if config.arrangement in ("original", "norm-after-addition") else y
            beginning = False
    if config.arrangement == "full-preactivation":
        x = norm("head_norm", x)
    x = F.relu(x) if config.arrangement.endswith("preactivation") else x
    return x.mean((2, 3)) @ state["head.weight"].T + state["head.bias"]


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_block_equals_a_reference_implementation_of_its_arrangement(
    arrangement: Any, block: Any, shortcut: Any
) -> None:
    config = CifarConfig(
        blocks=(2, 2), widths=(4, 6), shortcut=shortcut, block=block, arrangement=arrangement
    )
    model = build(config)
    images = torch.randn(
        2, 3, 7, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.testing.assert_close(
        model(images), reference(state, config, images), rtol=1e-9, atol=1e-9
    )
    assert config.cost(3, 5, 9) == traced_cost(config, 3, 5, 9)


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_the_cost_of_a_network_without_batch_norm_equals_the_built_network(
    arrangement: Any, shortcut: Any
) -> None:
    config = CifarConfig(
        blocks=(1, 1), widths=(4, 6), shortcut=shortcut, arrangement=arrangement, batch_norm=False
    )
    assert config.cost(1, 3, 8) == traced_cost(config, 1, 3, 8)
    assert not [m for m in build(config).modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS[1:])
def test_arrangements_of_one_seed_start_from_the_same_convolutions(arrangement: Any) -> None:
    one, two = (
        build(cifar_config(8, arrangement=saved)).state_dict()
        for saved in ("original", arrangement)
    )
    convolutions = [
        name for name in one if "conv" in name or "stem.weight" in name or "head.weight" in name
    ]
    assert convolutions
    assert all(torch.equal(one[name], two[name]) for name in convolutions)


@pytest.mark.parametrize(
    ("table", "parameters"),
    [
        ({"depth": 164, "block": "bottleneck", "shortcut": "B"}, 1_704_154),
        (
            {
                "depth": 164,
                "block": "bottleneck",
                "shortcut": "B",
                "arrangement": "full-preactivation",
            },
            1_703_258,
        ),
        ({"depth": 20, "shortcut": "B", "arrangement": "full-preactivation"}, 272_282),
    ],
)
def test_pre_activation_and_bottleneck_networks_have_the_published_parameter_counts(
    table: dict[str, Any], parameters: int
) -> None:
    config = parse_model(table, "")
    assert config.depth == table["depth"]
    assert traced_cost(config, 3, 10, 32)[0] == parameters


def test_a_gate_starts_nearly_closed() -> None:
    model = build_model(
        cifar_config(8, "gated"), 3, 10, lambda name: make_generator(0, "init", name)
    )
    block = model.stages[0][0]
    assert torch.equal(block.shortcut.gate.bias, torch.full((16,), -6.0))
    x = torch.rand(2, 16, 8, 8)
    torch.testing.assert_close(block.eval()(x), x, rtol=0, atol=0.1)


@pytest.mark.parametrize(("depth", "layers"), [(8, 8), (14, 14), (18, 16), (34, 34), (50, 50)])
def test_depth_report_networks_have_the_blocks_of_table_1(depth: int, layers: int) -> None:
    table = {
        8: "- 1 - 1 - 1 -",
        14: "1 1 1 1 - 1 1",
        18: "1 1 1 1 1 1 1",
        34: "3 1 3 1 5 1 2",
        50: "6 1 5 1 5 1 5",
    }[depth].split()
    ways = ["16>16", "16>32", "32>32", "32>64", "64>64", "64>128", "128>128"]
    model = build_model(
        parse_model(f"depth-report-resnet{depth}", ""),
        3,
        10,
        lambda n: make_generator(0, "init", n),
    )
    built = [
        f"{b.conv1.in_channels}>{b.conv2.out_channels}" for stage in model.stages for b in stage
    ]
    assert built == [
        way for way, n in zip(ways, table, strict=True) for _ in range(0 if n == "-" else int(n))
    ]
    convolutions = [
        n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in n
    ]
    assert len(convolutions) + 1 == layers == parse_model(f"depth-report-plain{depth}", "").depth


def test_depth_report_networks_match_the_text_of_the_report() -> None:
    for depth in DEPTH_REPORT:
        residual, plain = (
            parse_model(f"depth-report-{kind}{depth}", "") for kind in ("resnet", "plain")
        )
        assert isinstance(residual, CifarConfig)
        assert (residual.shortcut, residual.dropout, residual.widths) == (
            "B",
            0.5,
            (16, 32, 64, 128),
        )
        assert plain.shortcut == "none"
        assert residual.title == f"residual {depth} (depth report)"
        assert plain.slug == f"depth-report-plain{depth}"


def test_a_table_with_bottlenecks_counts_three_layers_for_each_block() -> None:
    config = parse_model({"depth": 29, "block": "bottleneck"}, "x")
    assert isinstance(config, CifarConfig)
    assert (config.blocks, config.depth) == ((3, 3, 3), 29)
    assert config.title == "residual 29 (A, bottleneck)"
