"""Networks of "Exploration d'un Resnet pour la classification d'images", as its authors' code runs
them.

The text's networks are `depth-report-plain8` and so on. The code differs from the text, and from
the usual choice where the text is silent, in three ways that change what is learned. Each of them
can be chosen alone:

- double softmax: the network ends in a softmax, and the cross-entropy treats its output as logits;
- one norm: both convolutions of a block share one batch-normalization module;
- evaluation mode: the network trains in evaluation mode, so batch normalization keeps its initial
  statistics, mean 0 and variance 1, and dropout has no effect.

`run = "as described"` has none of them, "as run" has all three, and names joined by " + " select
some. In all cases convolutions have a bias, the 1x1 convolution of a shortcut has no norm, and
depth 18 has two blocks of 16 channels, where the report's table 1 has one: the code's 18 has 18
weighted layers.
"""

from __future__ import annotations

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

CODE_DIFFERENCES = ("double softmax", "one norm", "evaluation mode")

BLOCKS = {8: (0, 1, 1, 1), 14: (1, 2, 1, 2), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (6, 6, 6, 6)}
"""Number of blocks of 16, 32, 64 and 128 channels."""


def plain(depth: int = 8, run: str = "as run", num_classes: int = 10) -> nn.Module:
    """Return the plain network. Raises ValueError for an unknown depth or run."""
    return Network(depth, False, parse_run(run), num_classes)


def residual(depth: int = 8, run: str = "as run", num_classes: int = 10) -> nn.Module:
    """Return the residual network. Raises ValueError for an unknown depth or run."""
    return Network(depth, True, parse_run(run), num_classes)


def parse_run(run: str) -> frozenset[str]:
    """Return those of `CODE_DIFFERENCES` that `run` names. Raises ValueError for another text."""
    if run in ("as described", "as run"):
        return frozenset(CODE_DIFFERENCES if run == "as run" else ())
    names = frozenset(run.split(" + "))
    if not names <= set(CODE_DIFFERENCES):
        raise ValueError(
            f'run = "{run}" is neither "as described" nor "as run" nor of '
            f"{', '.join(CODE_DIFFERENCES)}"
        )
    return names


class Network(nn.Module):
    """Network of the depth report for RGB images of 32 x 32: stem, blocks, pooling, classifier."""

    def __init__(
        self, depth: int, residual: bool, differences: frozenset[str], num_classes: int
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth = {depth} is not one of {', '.join(map(str, BLOCKS))}")
        self.double_softmax = "double softmax" in differences
        self.evaluation_mode = "evaluation mode" in differences
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.stem_norm = nn.BatchNorm2d(16)
        channels, blocks = 16, []
        for count, width in zip(BLOCKS[depth], (16, 32, 64, 128), strict=True):
            for _ in range(count):
                blocks.append(Block(channels, width, residual, "one norm" in differences))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but never training mode for a network with "evaluation mode"."""
        return super().train(mode and not self.evaluation_mode)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of (B, 3, H, W), or probabilities with double softmax."""
        x = self.blocks(F.relu(self.stem_norm(self.stem(images))))
        logits: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return F.softmax(logits, 1) if self.double_softmax else logits


class Block(nn.Module):
    """Block with two 3x3 convolutions, channel dropout, and a shortcut in the residual network."""

    def __init__(self, in_channels: int, channels: int, residual: bool, one_norm: bool) -> None:
        super().__init__()
        changes = channels != in_channels
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 2 if changes else 1, 1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.norm2 = None if one_norm else nn.BatchNorm2d(channels)  # None: norm1 is used twice
        self.dropout = nn.Dropout2d(0.5)
        self.shortcut = None
        if residual:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, 2) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: (B, C_in, H, W) to (B, C, H / stride, W / stride)."""
        out = self.conv2(F.relu(self.norm1(self.conv1(x))))
        out = self.dropout((self.norm2 or self.norm1)(out))
        return F.relu(out if self.shortcut is None else out + self.shortcut(x))
