"""Residual blocks and their plain twins."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, and a way around them unless the block is plain (He et al. 2016, fig. 5 left).

    A plain block and its residual twin name their parameters alike, so that one seed gives both the same weights.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        stride: int,
        shortcut: nn.Module | None,
        batch_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        bias = not batch_norm
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=bias)
        self.norm1 = nn.BatchNorm2d(channels_out) if batch_norm else nn.Identity()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=bias)
        self.norm2 = nn.BatchNorm2d(channels_out) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.shortcut = shortcut

    def branch(self, x: Tensor) -> Tensor:
        """What the block adds: (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        x = F.relu(self.norm1(self.conv1(x)))
        out: Tensor = self.dropout(self.norm2(self.conv2(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            return F.relu(self.branch(x))
        return F.relu(self.shortcut(x) + self.branch(x))
