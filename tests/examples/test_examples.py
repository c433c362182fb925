"""The examples run each variant of the code of the reports, and its effects are those described."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.errors import InputError
from resnetlab.examples import depth_report
from resnetlab.models.build import build_model
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.registry import get_model_config
from resnetlab.training.rng import make_generator

DEPTHS = (8, 14, 18, 34, 50)


def built(config: ModelConfig, seed: int = 0) -> nn.Module:
    return build_model(config, 3, 10, lambda name: make_generator(seed, "init", name))


def external(function: str, **kwargs: int | str) -> ExternalConfig:
    return ExternalConfig(source=f"resnetlab.examples.{function}", kwargs=dict(kwargs))


def images(count: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def stepped(model: nn.Module, steps: int = 3) -> nn.Module:
    """Return a few steps of training, as the loop does them: in whatever mode the network is."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(images(seed=step)), torch.arange(6)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("build", [depth_report.plain, depth_report.residual])
def test_evaluation_mode_during_training_changes_no_statistics_and_drops_nothing(
    build: Callable[..., nn.Module],
) -> None:
    model = stepped(build(8, "evaluation mode").train())
    assert not model.training
    for norm in norms(model):
        assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
        assert torch.equal(norm.running_var, torch.ones_like(norm.running_var))
    assert torch.equal(model(images()), model(images()))
    described = stepped(build(8, "as described"))
    assert described.training
    assert all(float(norm.running_mean.abs().max()) > 0 for norm in norms(described))
    assert not torch.equal(described(images()), described(images()))
    assert not described.eval().training


@torch.no_grad()
def test_a_double_softmax_limits_the_loss_of_ten_classes() -> None:
    model = depth_report.plain(8, "double softmax").eval()
    model.head.weight *= 1e4  # as sure as a network can be
    scores, right = (
        model(images(50)),
        torch.randint(10, (50,), generator=torch.Generator().manual_seed(1)),
    )
    assert torch.allclose(scores.sum(1), torch.ones(50))
    losses = F.cross_entropy(scores, right, reduction="none")
    low, high = math.log(math.e + 9) - 1, math.log(math.e + 9)
    assert low - 1e-5 <= float(losses.min()) < float(losses.max()) <= high + 1e-5
    assert float(F.cross_entropy(torch.eye(10), torch.arange(10))) == pytest.approx(low)
    alone = depth_report.plain(8, "as described").eval()
    alone.load_state_dict(model.state_dict())
    assert (
        float(F.cross_entropy(alone(images(50)), right)) > high
    )  # without it a loss has no such bound
    assert torch.equal(
        alone(images(50)).argmax(1), scores.argmax(1)
    )  # and the prediction is the same


def test_with_one_norm_both_convolutions_of_a_block_use_the_same_module() -> None:
    one, two = (depth_report.residual(14, run) for run in ("one norm", "as described"))
    assert len(norms(two)) - len(norms(one)) == 6  # one a block
    calls: list[nn.Module] = []
    for norm in norms(one):
        norm.register_forward_hook(lambda module, *_: calls.append(module))
    one(images())
    assert [len(list(group)) for _, group in itertools.groupby(calls)] == [1] + [2] * 6
    assert len(one.state_dict()) == len({tensor.data_ptr() for tensor in one.state_dict().values()})


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_without_any_variant_the_networks_have_the_layers_of_our_own(depth: int, kind: str) -> None:
    theirs = built(external(f"depth_report:{kind}", depth=depth, run="as described"))
    ours = built(
        get_model_config(f"depth-report-{kind.replace('residual', 'resnet')}{depth}", "test", "")
    )

    def weights(model: nn.Module) -> list[tuple[int, ...]]:
        return sorted(tuple(p.shape) for p in model.parameters() if p.ndim > 1)

    more = [(16, 16, 3, 3)] * 2 if depth == 18 else []  # its code has a second block of 16 channels
    assert weights(theirs) == sorted(weights(ours) + more)
    biases = sum(m.bias is not None for m in theirs.modules() if isinstance(m, nn.Conv2d))
    assert biases == sum(isinstance(m, nn.Conv2d) for m in theirs.modules())
    main = [m for m in theirs.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(main) + 1 == depth  # and the classifier
    assert len(norms(theirs)) == len(main)  # a shortcut has none
    assert theirs.eval()(images(2)).shape == (2, 10)


def test_the_initial_weights_are_the_defaults_of_torch_and_follow_from_the_seed() -> None:
    config = external("depth_report:plain", depth=8)
    one, same, other = built(config), built(config), built(config, 1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.head.weight, other.head.weight)
    for module in one.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            bound = module.weight[0].numel() ** -0.5
            for parameter in (module.weight, module.bias):
                assert float(parameter.detach().abs().max()) <= bound
            assert float(module.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (external("depth_report:plain", depth=9), "depth = 9 is not one of 8, 14, 18, 34, 50"),
        (
            external("depth_report:plain", run="as ran"),
            'run = "as ran" is neither "as described" nor "as run"',
        ),
    ],
)
def test_an_argument_that_the_report_does_not_have_is_refused_in_one_line(
    config: ExternalConfig, message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as caught:
        built(config)
    assert "\n" not in str(caught.value)


def test_a_label_contains_the_kind_depth_and_variant() -> None:
    assert external("depth_report:plain", depth=8, run="as run").title == "plain (depth 8, as run)"
    assert external("depth_report:plain").title == "plain (resnetlab.examples.depth_report)"
