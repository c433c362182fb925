"""The ways around a block (He et al. 2016, sec. 3.3 and 4.1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Pad(nn.Module):
    """Option A: every `stride`-th pixel, and zero channels shared out to both ends; no parameters."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        extra = channels_out - channels_in
        self.stride, self.before, self.after = stride, extra // 2, extra - extra // 2

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, ceil(H / stride), ceil(W / stride))."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class Project(nn.Sequential):
    """Options B and C: a 1x1 convolution and, where the network has it, batch normalisation."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 1, stride, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(channels_out) if batch_norm else nn.Identity()
