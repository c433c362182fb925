"""Gradients, weights and responses are measured for each depth of a network."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnetlab.inspection.diagnostics_records import GradientNorms, LayerNorms
from resnetlab.inspection.gradient_summary import MeasuredNetwork, gradient_sentences
from resnetlab.inspection.gradients import measure_layer_norms

Call = Callable[..., tuple[int, str, str]]


def test_layer_norms_equal_a_backward_pass_and_dead_units_are_counted() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    with torch.no_grad():
        model[0].bias[1] = -1e3
    images, labels = torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    loss, rows = measure_layer_norms(model, images, labels)
    collected = [images]
    for module in model:
        collected.append(module(collected[-1]))
        collected[-1].retain_grad()
    expected = F.cross_entropy(collected[-1], labels)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()))
    assert [(row.depth, row.layer) for row in rows] == [(1, "0"), (2, "3")]
    for row in rows:
        at = int(row.layer)
        assert row.weight_gradient_norm == pytest.approx(
            float(model[at].weight.grad.norm()), rel=1e-5
        )
        assert row.weight_norm == pytest.approx(float(model[at].weight.detach().norm()))
        given = collected[at + 1]
        assert given.grad is not None
        assert row.response_gradient_norm == pytest.approx(float(given.grad.norm()), rel=1e-5)
        assert row.response_norm == pytest.approx(float(given.detach().norm()), rel=1e-5)
        assert row.response_sd == pytest.approx(float(given.detach().std()), rel=1e-5)
    assert [row.never_active_pct for row in rows] == [25.0, None]
    x = collected[1].detach().requires_grad_()
    (derivative,) = torch.autograd.grad(F.relu(x).sum(), x)  # 0 or 1 at each value
    assert sorted(derivative.unique().tolist()) == [0, 1]
    assert rows[0].active_pct == pytest.approx(100 * float(derivative.mean()), rel=1e-5)
    assert rows[1].active_pct is None
    assert rows[0].activation_norm == pytest.approx(float(collected[2].detach().norm()), rel=1e-5)
    assert rows[1].activation_norm is None


@pytest.mark.parametrize("inplace", [False, True])
def test_the_response_is_the_output_of_the_normalization_even_with_inplace_layers(
    inplace: bool,
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(4 * 36, 3),
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _, rows = measure_layer_norms(model.eval(), torch.randn(6, 1, 8, 8), torch.arange(6) % 3)
    assert rows[0].response_sd == pytest.approx(1, rel=1e-2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_values_that_are_not_finite_become_none() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.fill_(float("inf"))
    loss, rows = measure_layer_norms(
        model, torch.randn(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)
    )
    assert loss is None
    assert rows[0].response_sd is None


def test_inspect_gradients_has_a_row_for_each_layer(call: Call, small_npz: Path) -> None:
    code, out, _ = call(
        "gradients", "cifar-resnet14-b", "--data", str(small_npz), "--images", "32", "--json"
    )
    rows = json.loads(out)["rows"]
    assert code == 0
    assert [row["depth"] for row in rows] == list(range(1, 17))  # 14, and two projections
    assert all(row["weight_gradient_norm"] > 0 for row in rows)


def network(
    name: str,
    *gradients: float,
    never_active: tuple[float | None, ...] = (),
    active: tuple[float | None, ...] = (),
) -> Any:
    """Return a network whose layers have these weight gradient norms, from the input on."""
    shares = never_active or (None,) * len(gradients)
    active = active or (None,) * len(gradients)
    layers = tuple(
        LayerNorms(
            depth=depth,
            layer=f"layer{depth}",
            weight_gradient_norm=gradient,
            weight_norm=1.0,
            response_gradient_norm=gradient / 10,
            response_norm=1.0,
            response_sd=1.0,
            activation_norm=None,
            never_active_pct=share,
            active_pct=positive,
        )
        for depth, (gradient, share, positive) in enumerate(
            zip(gradients, shares, active, strict=True), 1
        )
    )
    norms = GradientNorms(epoch=0.0, step=0, images=8, loss_nats=2.3, layers=layers)
    return MeasuredNetwork(name, (norms,))


@pytest.mark.parametrize(
    ("gradients", "phrase"),
    [
        ((33.0, 5.0, 1.0), "grows 33-fold: 1 at layer3 (layer 3), 33 at layer1 (layer 1)"),
        ((0.25, 5.0, 1.0), "shrinks 4-fold: 1 at layer3 (layer 3), 0.25 at layer1 (layer 1)"),
        ((1.2, 5.0, 1.0), "stays about the same (1.20-fold)"),
    ],
)
def test_a_sentence_states_if_gradients_grow_or_shrink_towards_the_input(
    gradients: tuple[float, ...], phrase: str
) -> None:
    sentences = gradient_sentences([network("net", *gradients)])
    assert sentences[0].startswith(f"net: towards the input the weight gradient norm {phrase}")
    assert "no layer is followed by a ReLU" in sentences[1]


def test_two_networks_are_compared_and_never_active_units_are_counted() -> None:
    plain = network("plain", 8.0, 2.0, never_active=(25.0, 75.0))
    sentences = gradient_sentences([plain, network("residual", 1.0, 1.0)])
    assert (
        "plain: on average 50.0 % of a layer's units are never active in this batch (2 layers "
        "followed by a ReLU; most in layer2, 75.0 %)."
    ) in sentences
    assert sentences[-1] == (
        "Towards the input the weight gradient norm grows 4-fold in plain, and it stays about the "
        "same (1.00-fold) in residual, each at the last epoch measured."
    )


@pytest.mark.parametrize(
    ("active", "phrase"),
    [
        (
            (50.0, 30.0),
            (
                "1 at 40.0 % of its values and 0 at the others, on average over 2 layers "
                "(least in layer2, 30.0 %); no layer has only zeros, so a gradient passes every "
                "ReLU."
            ),
        ),
        ((50.0, 0.0), "it is 0 everywhere after layer2, which no gradient passes."),
    ],
)
def test_a_sentence_states_where_the_derivative_of_a_relu_is_one(
    active: tuple[float, ...], phrase: str
) -> None:
    sentences = gradient_sentences([network("net", 1.0, 2.0, active=active)])
    assert sentences[-1].endswith(phrase)


def test_two_networks_are_shown_side_by_side_in_the_table_and_in_the_picture(
    call: Call, small_npz: Path, tmp_path: Path
) -> None:
    names = ("cifar-plain8", "cifar-resnet8-b")
    given = (*names, "--data", str(small_npz), "--images", "16")
    code, out, _ = call("gradients", *given, "--draw", str(tmp_path / "norms.svg"))
    assert code == 0
    assert "stages.1.0.shortcut.conv" in out
    assert f"in {names[0]}, and it" in out
    picture = "".join(ET.parse(tmp_path / "norms.svg").getroot().itertext())
    assert all(name in picture for name in names)
    assert "Derivative of the ReLU is 1 (active)" in picture
    alone = {
        name: json.loads(call("gradients", name, *given[2:], "--json")[1])["rows"] for name in names
    }
    both = json.loads(call("gradients", *given, "--json")[1])["rows"]
    assert both == [{"network": name} | row for name in names for row in alone[name]]
