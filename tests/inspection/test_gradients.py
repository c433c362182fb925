"""Gradients, weights and responses by depth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnetlab.inspection.gradients import gradients

Call = Callable[..., tuple[int, str, str]]


def test_norms_are_those_of_a_backward_pass_and_a_dead_unit_is_seen() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    with torch.no_grad():
        model[0].bias[1] = -1e3
    images, labels = torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    rows = gradients(model, images, labels)
    F.cross_entropy(model(images), labels).backward()
    assert [row["layer"] for row in rows] == ["0", "3"]
    for row in rows:
        weight = model[int(row["layer"])].weight
        assert row["weight_gradient_norm"] == pytest.approx(float(weight.grad.norm()), rel=1e-5)
    assert rows[0]["response_sd"] == pytest.approx(float(model[0](images).detach().std()), rel=1e-5)
    assert [row["never_active_pct"] for row in rows] == [25.0, None]


def test_inspect_gradients_has_a_row_a_layer(call: Call, small_npz: Path) -> None:
    code, out, _ = call("gradients", "cifar-resnet14-b", "--data", str(small_npz), "--images", "32", "--json")
    rows = json.loads(out)["rows"]
    assert code == 0
    assert [row["depth"] for row in rows] == list(range(1, 17))  # 14, and two projections
    assert all(row["weight_gradient_norm"] > 0 for row in rows)
