"""Small networks with strided 1x1 convolutions of few channels, which a fault of oneDNN affects."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from resnetlab.models.build import build_model
from resnetlab.models.configs import CifarConfig, ExternalConfig, ModelConfig
from resnetlab.training.rng import make_generator

NARROW = CifarConfig(blocks=(1, 1, 1), widths=(2, 4, 8), shortcut="B")
NETWORKS = {
    "projection": NARROW,
    "projection-before-norm": replace(NARROW, arrangement="full-preactivation"),
    "projection-everywhere": replace(NARROW, shortcut="C"),
    "nearly-wide": CifarConfig(blocks=(1, 1, 1), widths=(12, 15, 16), shortcut="B"),
    "gate": replace(NARROW, shortcut="gated"),
    "others": ExternalConfig(source="helpers.subsampled:strided", kwargs={}),
}


class _Strided(nn.Module):
    """Network of another package, whose first layer is affected."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(3, 8, 1, stride=2)
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(F.relu(self.reduce(x)).mean((2, 3)))
        return out


def strided(num_classes: int) -> nn.Module:
    """Return a small network with an affected layer."""
    return _Strided(num_classes)


def build(config: ModelConfig) -> nn.Module:
    return build_model(config, 3, 5, lambda name: make_generator(0, "init", name))
