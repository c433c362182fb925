"""A small residual network, reached as a person's own is: `helpers.tiny:tiny`."""

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
        held = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(held)) + x)


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
        held: Tensor = self.blocks(F.relu(self.norm(self.stem(x))))
        out: Tensor = self.head(self.drop(held.mean((2, 3))))
        return out


class Asking(Tiny):
    """The same, in a way that cannot be traced: it looks at the values that pass."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if bool(torch.isfinite(x).all()) else x


def tiny(num_classes: int = 10) -> nn.Module:
    """The network."""
    return Tiny(num_classes)


def asking(num_classes: int = 10) -> nn.Module:
    """The network that cannot be traced."""
    return Asking(num_classes)
