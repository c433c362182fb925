"""Residual blocks and plain blocks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.models.configs.cifar import Arrangement
from resnetlab.models.nets.shortcuts import GatedShortcut, ProjectionShortcut


class BasicBlock(nn.Module):
    """Basic block: two 3x3 convolutions with an optional shortcut (He et al. 2016, fig. 5 left).

    A plain block has no shortcut. It names its parameters as the residual block does, so that one
    seed gives both the same weights. `Block` is the general form; this one, the most used, is
    written out so that it reads like the figure.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        shortcut: nn.Module | None,
        batch_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        bias = not batch_norm
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=bias)
        self.norm1 = nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=bias)
        self.norm2 = nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.shortcut = shortcut

    def branch(self, x: Tensor) -> Tensor:
        """Return the branch: (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        x = F.relu(self.norm1(self.conv1(x)))
        out: Tensor = self.dropout(self.norm2(self.conv2(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        if self.shortcut is None:
            return F.relu(self.branch(x))
        return F.relu(add_shortcut(self.shortcut, x, self.branch(x)))


class Block(nn.Module):
    """Residual or plain block of any convolutions, arranged as in He et al. 2016b, fig. 4.

    `convolutions` gives channels, kernel size, stride and groups of each. In a network with
    pre-activation, the block with `is_first` does not activate its input, because the stem did.
    With full pre-activation, a projection shortcut takes the activated input, as in the code of
    He et al.; every other shortcut takes the input itself.
    """

    def __init__(
        self,
        in_channels: int,
        convolutions: tuple[tuple[int, int, int, int], ...],
        shortcut: nn.Module | None,
        arrangement: Arrangement = "original",
        *,
        batch_norm: bool = True,
        dropout: float = 0.0,
        is_first: bool = False,
    ) -> None:
        super().__init__()
        self.num_convolutions, self.arrangement = len(convolutions), arrangement
        self.is_first = is_first
        preactivated = arrangement == "full-preactivation"
        channels = in_channels
        for layer, (out, kernel, stride, groups) in enumerate(convolutions, 1):
            conv = nn.Conv2d(
                channels, out, kernel, stride, kernel // 2, groups=groups, bias=not batch_norm
            )
            norm: nn.Module = nn.Identity()
            normalized_by_stem = preactivated and is_first and layer == 1
            if batch_norm and not normalized_by_stem:
                norm = nn.BatchNorm2d(channels if preactivated else out)
            self.add_module(f"conv{layer}", conv)
            self.add_module(f"norm{layer}", norm)
            channels = out
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.shortcut = shortcut

    def _conv(self, layer: int, x: Tensor) -> Tensor:
        out: Tensor = getattr(self, f"conv{layer}")(x)
        return out

    def _norm(self, layer: int, x: Tensor) -> Tensor:
        out: Tensor = getattr(self, f"norm{layer}")(x)
        return out

    def preactivate(self, x: Tensor) -> Tensor:
        """Return the input of the first convolution: `x`, activated in the variants that do so."""
        if not self.is_first and self.arrangement == "full-preactivation":
            return F.relu(self._norm(1, x))
        if not self.is_first and self.arrangement == "relu-only-preactivation":
            return F.relu(x)
        return x

    def branch(self, x: Tensor) -> Tensor:
        """Return the output of the residual branch from the activated input.

        The shapes are (B, C_in, H, W) and (B, C_out, H / stride, W / stride).
        """
        preactivated = self.arrangement == "full-preactivation"
        for layer in range(1, self.num_convolutions + 1):
            if layer > 1:
                x = F.relu(self._norm(layer, x) if preactivated else x)
            x = self._conv(layer, x)
            is_last = layer == self.num_convolutions
            normalized_later = is_last and self.arrangement == "norm-after-addition"
            if not preactivated and not normalized_later:
                x = self._norm(layer, x)
        if self.arrangement == "relu-before-addition":
            x = F.relu(x)
        out: Tensor = self.dropout(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        activated = self.preactivate(x)
        is_projection = isinstance(self.shortcut, ProjectionShortcut)
        if is_projection and self.arrangement == "full-preactivation":
            x = activated
        x = add_shortcut(self.shortcut, x, self.branch(activated))
        if self.arrangement == "norm-after-addition":
            return F.relu(self._norm(self.num_convolutions, x))
        return F.relu(x) if self.arrangement == "original" else x


def add_shortcut(shortcut: nn.Module | None, x: Tensor, branch: Tensor) -> Tensor:
    """Return the sum of the residual branch and the shortcut of `x`.

    With a gate it is their mix, and in a plain block, without a shortcut, the branch alone.
    """
    match shortcut:
        case None:
            return branch
        case GatedShortcut():
            return shortcut.mix(x, branch)
        case _:
            out: Tensor = shortcut(x) + branch
            return out
