"""Residual and plain networks for small images (He et al. 2016, sec. 4.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.models.configs.cifar import EXPANSION, CifarConfig
from resnetlab.models.nets.blocks import BasicBlock, Block
from resnetlab.models.nets.shortcuts import GatedShortcut, make_shortcut


class CifarNetwork(nn.Module):
    """Network for small images: stem, stages, average pooling, classifier."""

    def __init__(self, config: CifarConfig, channels: int, num_classes: int) -> None:
        super().__init__()
        width = config.widths[0]
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=not config.batch_norm)
        self.stem_norm = nn.BatchNorm2d(width) if config.batch_norm else nn.Identity()
        stages: list[nn.Module] = []
        for stage, (count, out) in enumerate(zip(config.blocks, config.widths, strict=True)):
            blocks: list[nn.Module] = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                is_first = stage == 0 and block == 0
                blocks.append(_make_block(config, width, out, stride, is_first))
                width = out if config.block == "basic" else EXPANSION * out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        if config.arrangement == "full-preactivation" and config.batch_norm:
            self.head_norm = nn.BatchNorm2d(width)
        self.activates_last = config.arrangement in (
            "relu-only-preactivation",
            "full-preactivation",
        )
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W)."""
        x = F.relu(self.stem_norm(self.stem(images)))
        x = self.stages(x)
        if self.activates_last:
            x = F.relu(self.head_norm(x) if hasattr(self, "head_norm") else x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: Tensor = self.head(x)
        return logits


def _make_block(
    config: CifarConfig, in_channels: int, width: int, stride: int, is_first: bool
) -> nn.Module:
    out_channels = width if config.block == "basic" else EXPANSION * width
    shortcut = _make_shortcut(config, in_channels, out_channels, stride)
    if config.block == "basic" and config.arrangement == "original":
        return BasicBlock(
            in_channels, out_channels, stride, shortcut, config.batch_norm, config.dropout
        )
    convolutions = tuple((*layer, 1) for layer in config.convolutions(width, stride))
    return Block(
        in_channels,
        convolutions,
        shortcut,
        config.arrangement,
        batch_norm=config.batch_norm,
        dropout=config.dropout,
        is_first=is_first,
    )


def _make_shortcut(
    config: CifarConfig, in_channels: int, out_channels: int, stride: int
) -> nn.Module | None:
    if config.shortcut == "none":
        return None
    at_end = config.zero_channels == "end"
    if config.shortcut == "gated":
        return GatedShortcut(in_channels, out_channels, stride, at_end)
    # With full pre-activation, the input of a projection is normalized before.
    norm = config.batch_norm and config.arrangement != "full-preactivation"
    return make_shortcut(
        config.shortcut, in_channels, out_channels, stride, norm, not config.batch_norm, at_end
    )
