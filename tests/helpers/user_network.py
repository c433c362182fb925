"""Small residual network that tests use like a user's own network: `helpers.user_network:tiny`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = (
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.conv2, self.norm2 = (
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        features = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(features)) + x)


class Tiny(nn.Module):
    """A stem, two blocks, the mean, a classifier."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem, self.norm = (
            nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(12),
        )
        self.blocks = nn.Sequential(Block(12), Block(12))
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(12, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.blocks(F.relu(self.norm(self.stem(x))))
        out: Tensor = self.head(self.drop(features.mean((2, 3))))
        return out


class Asking(Tiny):
    """Network like `Tiny` with control flow that depends on values, so that it cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if bool(torch.isfinite(x).all()) else x


def tiny(num_classes: int = 10) -> nn.Module:
    """Return the network."""
    return Tiny(num_classes)


def asking(num_classes: int = 10) -> nn.Module:
    """Return the network that cannot be traced."""
    return Asking(num_classes)
