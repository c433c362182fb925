"""The networks for CIFAR have the published sizes and function, and plain and residual networks
start from the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.networks import build
from helpers.threads import one_thread
from resnetlab.models.configs import CifarConfig, cifar_config
from resnetlab.models.nets.init import init_weights
from resnetlab.models.nets.shortcuts import ZeroPadShortcut
from resnetlab.training.rng import make_generator

OPTIONS = ["none", "A", "B", "C"]
SPECS = [
    CifarConfig(blocks=(1, 1, 1), widths=(4, 8, 12), shortcut="none"),
    CifarConfig(blocks=(2, 1, 2), widths=(4, 8, 8), shortcut="A"),
    CifarConfig(blocks=(1, 2, 1), widths=(4, 7, 12), shortcut="A", batch_norm=False),
    CifarConfig(blocks=(1, 2, 2), widths=(6, 4, 8), shortcut="B"),
    CifarConfig(blocks=(2, 2, 1, 1), widths=(4, 6, 8, 10), shortcut="C"),
    CifarConfig(blocks=(1, 1), widths=(4, 6), shortcut="C", batch_norm=False),
    CifarConfig(blocks=(0, 2, 1), widths=(4, 6, 8), shortcut="B"),
    CifarConfig(blocks=(3,), widths=(5,), shortcut="none", batch_norm=False),
]


def named(config: CifarConfig) -> str:
    blocks = "-".join(map(str, config.blocks))
    return f"{config.shortcut}-{blocks}-{'bn' if config.batch_norm else 'bias'}"


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


# Sizes
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "option", "parameters"),
    [
        (20, "A", 269_722),
        (32, "A", 464_154),
        (44, "A", 658_586),
        (56, "A", 853_018),
        (110, "A", 1_727_962),
        (20, "B", 272_474),
        (20, "none", 269_722),
        (110, "none", 1_727_962),
    ],
)
def test_the_classic_networks_have_the_published_parameter_counts(
    depth: int, option: Any, parameters: int
) -> None:
    config = cifar_config(depth, option)
    assert size(build(config)) == parameters
    assert config.cost(3, 10, 32)[0] == parameters


@pytest.mark.parametrize("side", [8, 32, 33, 27, 5])
@pytest.mark.parametrize("config", SPECS, ids=named)
def test_the_cost_of_a_config_equals_the_built_network(config: CifarConfig, side: int) -> None:
    model = build(config, channels=1, classes=7).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 1, side, side))
    assert config.cost(1, 7, side) == (size(model), counter.get_total_flops() // 2)


@pytest.mark.parametrize(("option", "depth"), [("none", 8), ("A", 14), ("B", 20)])
def test_depth_counts_the_weighted_layers_on_the_longest_path(option: Any, depth: int) -> None:
    model = build(cifar_config(depth, option))
    layers = [
        n
        for n, m in model.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n
    ]
    assert cifar_config(depth, option).depth == depth == len(layers)


# Output of a network
# --------------------------------------------------------------------------------------------------


def reference(
    state: dict[str, Tensor], config: CifarConfig, images: Tensor, training: bool
) -> Tensor:
    """Return the network as the paper describes it, from its weights alone."""

    def convolve(name: str, x: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding)

    def norm(name: str, x: Tensor) -> Tensor:
        if not config.batch_norm:
            return x
        if training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        else:
            mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return x * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    x = F.relu(norm("stem_norm", convolve("stem", images, 1, 1)))
    for stage, count in enumerate(config.blocks):
        for block in range(count):
            name, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            branch = F.relu(norm(f"{name}.norm1", convolve(f"{name}.conv1", x, stride, 1)))
            branch = norm(f"{name}.norm2", convolve(f"{name}.conv2", branch, 1, 1))
            if config.shortcut == "none":
                x = F.relu(branch)
            elif f"{name}.shortcut.conv.weight" in state:
                way = norm(f"{name}.shortcut.norm", convolve(f"{name}.shortcut.conv", x, stride, 0))
                x = F.relu(way + branch)
            else:
                more = branch.shape[1] - x.shape[1]
                way = torch.zeros_like(branch)
                way[:, more // 2 : more // 2 + x.shape[1]] = x[:, :, ::stride, ::stride]
                x = F.relu(way + branch)
    return x.mean((2, 3)) @ state["head.weight"].T + state["head.bias"]


def stirred(config: CifarConfig, channels: int = 3) -> nn.Module:
    """Return a network in double precision whose normalizations are not the identity."""
    model = build(config, channels).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(noise + 0.5)
    return model


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("config", SPECS, ids=named)
def test_the_network_equals_a_reference_implementation_of_the_paper(
    config: CifarConfig, side: int, training: bool
) -> None:
    model = stirred(config).train(training)
    images = torch.randn(
        4, 3, side, side, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.testing.assert_close(
        model(images), reference(state, config, images, training), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_projections_are_at_the_blocks_that_the_shortcut_option_requires(option: Any) -> None:
    config = CifarConfig(blocks=(2, 2, 2), widths=(4, 8, 8), shortcut=option)
    projections = {
        name.removesuffix(".conv.weight")
        for name in build(config).state_dict()
        if "shortcut.conv" in name
    }
    where = {
        "none": set(),
        "A": set(),
        "B": {"1.0", "2.0"},
        "C": {"0.0", "0.1", "1.0", "1.1", "2.0", "2.1"},
    }[option]
    assert projections == {f"stages.{stage}.shortcut" for stage in where}


def test_shortcut_a_has_no_parameters_and_copies_the_signal_to_the_middle_channels() -> None:
    config = CifarConfig(blocks=(1, 1), widths=(2, 5), shortcut="A")
    way = build(config).stages[1][0].shortcut
    assert not list(way.parameters())
    x = torch.arange(2.0 * 5 * 5).reshape(1, 2, 5, 5) + 1
    out = way(x)
    assert out.shape == (1, 5, 3, 3)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert not out[:, [0, 3, 4]].any()


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 3, 32, 32), (3, 3, 5, 5)])
def test_logits_have_a_row_for_each_image_and_a_column_for_each_class(
    shape: tuple[int, ...],
) -> None:
    assert build(cifar_config(8), channels=shape[1], classes=6).eval()(
        torch.zeros(shape)
    ).shape == (
        shape[0],
        6,
    )


def test_a_network_is_built_on_the_cpu_in_single_precision() -> None:
    for tensor in build(cifar_config(8)).parameters():
        assert (tensor.device.type, tensor.dtype) == ("cpu", torch.float32)


# Dropout
# --------------------------------------------------------------------------------------------------


def test_dropout_drops_whole_channels_of_the_branch_and_only_in_training() -> None:
    block = build(CifarConfig(blocks=(1,), widths=(64,), shortcut="A", dropout=0.5)).stages[0][0]
    x = torch.rand(8, 64, 6, 6, generator=torch.Generator().manual_seed(0)) + 0.1
    torch.manual_seed(0)
    block.train()
    branch = block.branch(x)
    dead = (branch == 0).flatten(2)
    assert torch.equal(dead.any(2), dead.all(2)), "a channel is dropped whole or not at all"
    assert 0.4 < dead.all(2).float().mean() < 0.6
    expected = block.norm2(block.conv2(F.relu(block.norm1(block.conv1(x)))))
    torch.testing.assert_close(
        branch, torch.where(dead.all(2)[:, :, None, None], 0.0, 2 * expected)
    )
    block.eval()
    expected = block.norm2(block.conv2(F.relu(block.norm1(block.conv1(x)))))
    assert torch.equal(block.branch(x), expected)


def test_dropout_does_not_change_parameter_names_and_initial_weights() -> None:
    with_dropout, without = (
        build(CifarConfig(blocks=(1, 1, 1), dropout=rate)).state_dict() for rate in (0.3, 0.0)
    )
    assert list(with_dropout) == list(without)
    assert all(torch.equal(with_dropout[name], without[name]) for name in without)


# Initial weights
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["he", "pytorch"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_plain_and_residual_networks_start_from_the_same_weights(
    init: Any, batch_norm: bool
) -> None:
    fields = {"init": init, "batch_norm": batch_norm}
    plain, *residual = (
        build(cifar_config(14, option, **fields), seed=7).state_dict() for option in OPTIONS
    )
    for network in residual:
        assert set(plain) <= set(network)
        assert all(torch.equal(plain[name], network[name]) for name in plain)
    assert set(residual[0]) == set(plain)


def test_a_deeper_network_has_the_initial_weights_of_the_shallower_one_in_common_layers() -> None:
    small, large = (build(CifarConfig(blocks=(n, n, n))).state_dict() for n in (1, 2))
    assert all(torch.equal(small[name], large[name]) for name in small)


def test_different_seeds_give_different_initial_weights() -> None:
    one, two = (build(cifar_config(8), seed=seed).state_dict() for seed in (0, 1))
    drawn = [name for name in one if name.endswith("weight") and one[name].ndim > 1]
    assert drawn
    assert not any(torch.equal(one[name], two[name]) for name in drawn)
    assert len({float(one[name].flatten()[0]) for name in drawn}) == len(drawn), (
        "each parameter has its own stream"
    )


def test_building_a_network_does_not_use_the_global_generator() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build(cifar_config(8, "B", init="pytorch"))
    assert torch.equal(torch.get_rng_state(), before)


class Ordered(nn.Module):
    """Layers of fixed names, registered in the order given."""

    def __init__(self, order: tuple[str, ...]) -> None:
        super().__init__()
        for name in order:
            self.add_module(name, nn.Linear(3, 4) if name == "head" else nn.Conv2d(2, 3, 3))


@pytest.mark.parametrize("init", ["he", "pytorch"])
def test_initial_weights_depend_on_name_and_seed_and_not_on_the_order_of_layers(
    init: Any,
) -> None:
    one, two = Ordered(("a", "b", "head")), Ordered(("head", "b", "extra", "a"))
    for model in (one, two):
        init_weights(model, init, lambda name: make_generator(3, "init", name))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name])
    sd = (2 / 18) ** 0.5
    if init == "he":
        drawn = torch.empty(3, 2, 3, 3).normal_(
            0, sd, generator=make_generator(3, "init", "a.weight")
        )
        assert torch.equal(one.a.weight, drawn)


WIDE = CifarConfig(blocks=(1, 1), widths=(48, 96), shortcut="C", batch_norm=False)


def layers(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_he_weights_are_normal_with_deviation_root_two_over_fan_in_and_zero_biases() -> None:
    standard = []
    for layer in layers(build(WIDE)):
        fan_in = (
            layer.in_channels * layer.kernel_size[0] ** 2
            if isinstance(layer, nn.Conv2d)
            else layer.in_features
        )
        assert not layer.bias.any()
        standard.append(layer.weight.detach().flatten() / (2 / fan_in) ** 0.5)
    values = torch.cat(standard).double()
    assert len(values) > 100_000
    assert abs(values.std() - 1) < 0.01
    assert stats.kstest(values.numpy(), "norm").pvalue > 0.01


@pytest.mark.parametrize("who", ["resnetlab", "torch"])
def test_pytorch_initialization_has_the_distribution_of_the_torch_default(who: str) -> None:
    """Uniform within 1 / sqrt(fan-in): ours and what torch.nn draws pass the same test."""
    torch.manual_seed(0)
    model = build(
        CifarConfig(blocks=(1, 1), widths=(48, 96), shortcut="C", batch_norm=False, init="pytorch")
    )
    weights, biases = [], []
    for layer in layers(model):
        if who == "torch":
            layer.reset_parameters()
        fan_in = layer.weight[0].numel()
        weights.append(layer.weight.detach().flatten() * fan_in**0.5)
        biases.append(layer.bias.detach() * fan_in**0.5)
    for values in (torch.cat(weights).double(), torch.cat(biases).double()):
        assert values.abs().max() <= 1 + 1e-6
        assert stats.kstest(values.numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert abs(torch.cat(weights).var() - 1 / 3) < 0.005


def test_normalization_layers_start_as_the_identity() -> None:
    for module in build(cifar_config(8, "B")).modules():
        if isinstance(module, nn.BatchNorm2d):
            collected = [
                module.weight,
                module.running_var,
                1 + module.bias,
                1 + module.running_mean,
            ]
            assert all(torch.equal(tensor, torch.ones_like(tensor)) for tensor in collected)
            assert module.num_batches_tracked == 0


@given(
    blocks=st.lists(st.integers(0, 2), min_size=1, max_size=4).filter(any),
    option=st.sampled_from(OPTIONS),
    start=st.integers(1, 5),
    more=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    batch_norm=st.booleans(),
    side=st.integers(8, 17),
)
def test_the_cost_of_every_valid_config_equals_the_built_network(
    blocks: list[int], option: Any, start: int, more: list[int], batch_norm: bool, side: int
) -> None:
    widths = tuple(start + sum(more[:stage]) for stage in range(len(blocks)))
    config = CifarConfig(
        blocks=tuple(blocks), widths=widths, shortcut=option, batch_norm=batch_norm
    )
    model = build(config, classes=3).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert model(torch.zeros(2, 3, side, side)).shape == (2, 3)
    assert config.cost(3, 3, side) == (size(model), counter.get_total_flops() // 4)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("side", [7, 8])
def test_a_padded_shortcut_equals_a_slice_in_its_gradient_and_memory_layout(
    layout: torch.memory_format, side: int
) -> None:
    x = torch.randn(4, 6, side, side, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    out = ZeroPadShortcut(6, 10, 2)(x)
    weights = torch.randn_like(out)
    (ours,) = torch.autograd.grad((out * weights).sum(), x)
    (theirs,) = torch.autograd.grad((x[:, :, ::2, ::2] * weights[:, 2:8]).sum(), x)
    assert torch.equal(ours, theirs)
    assert torch.equal(out[:, 2:8], x[:, :, ::2, ::2])
    assert not out[:, :2].any()
    assert not out[:, 8:].any()
    assert ours.is_contiguous(memory_format=layout)
