"""Shortcuts of residual blocks (He et al. 2016, sec. 3.3 and 4.1)."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ZeroPadShortcut(nn.Module):
    """Shortcut option A: every `stride`-th pixel, zero channels at both ends; no parameters.

    With `at_end` all zero channels come after the others.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, at_end: bool = False
    ) -> None:
        super().__init__()
        extra = out_channels - in_channels
        self.stride, self.pad_before = stride, 0 if at_end else extra // 2
        self.pad_after = extra - self.pad_before

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C_out, ceil(H / stride), ceil(W / stride)) for (B, C_in, H, W)."""
        if self.stride > 1 and torch.is_grad_enabled() and x.requires_grad:
            x = cast(Tensor, _StridedSlice.apply(x, self.stride))
        else:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.pad_before, self.pad_after))


class _StridedSlice(torch.autograd.Function):
    """Subsampling to every `stride`-th pixel with a gradient in the memory format of the images.

    The gradient of a plain slice is not in that format, which makes the sums that follow slow on
    the CPU (`benchmarks/tries.py`).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        ctx.stride, ctx.shape = stride, x.shape
        is_channels_last = x.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if is_channels_last else torch.contiguous_format
        return x[:, :, ::stride, ::stride].clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad_input = torch.empty(
            ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=ctx.layout
        ).zero_()
        grad_input[:, :, :: ctx.stride, :: ctx.stride] = grad
        return grad_input, None


class ProjectionShortcut(nn.Sequential):
    """Shortcut options B and C: a 1x1 convolution, with batch norm if the network has it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        batch_norm: bool,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, 1, stride, bias=not batch_norm if bias is None else bias
        )
        self.norm = nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity()


class GatedShortcut(ZeroPadShortcut):
    """Gated shortcut: a learned weight for the branch, and the rest for the shortcut of option A.

    g = sigmoid of a 1x1 convolution of the block's input; the block returns g x branch + (1 - g) x
    shortcut: the exclusive gating of He et al. 2016b, sec. 3.1, after the highways of Srivastava et
    al. 2015. The gate starts nearly closed.
    """

    initial_bias = -6.0  # He et al. 2016b, table 1: from 0 to -5 training fails

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, at_end: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, stride, at_end)
        self.gate = nn.Conv2d(in_channels, out_channels, 1, stride)

    def mix(self, x: Tensor, branch: Tensor) -> Tensor:
        """Return the gated mix (B, C_out, ...) of input (B, C_in, H, W) and branch."""
        gate = torch.sigmoid(self.gate(x))
        mixed: Tensor = gate * branch + (1 - gate) * self(x)
        return mixed


def make_shortcut(
    option: Literal["A", "B", "C"],
    in_channels: int,
    out_channels: int,
    stride: int,
    batch_norm: bool,
    bias: bool | None = None,
    zeros_at_end: bool = False,
) -> nn.Module:
    """Return the shortcut of option A (zero padding), B or C (projections) for a block.

    By default a projection has a bias if it has no normalization; `bias` overrides that. Option A
    adds its zero channels at both ends, or with `zeros_at_end` after the others.
    """
    changes = stride != 1 or in_channels != out_channels
    if option == "C" or (option == "B" and changes):
        return ProjectionShortcut(in_channels, out_channels, stride, batch_norm, bias)
    if changes:
        return ZeroPadShortcut(in_channels, out_channels, stride, zeros_at_end)
    return nn.Identity()
