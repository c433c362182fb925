"""Residual and plain networks for ImageNet (He et al. 2016, table 1; Xie et al. 2017)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.models.configs.imagenet import WIDTHS, ImageNetConfig
from resnetlab.models.nets.blocks import Block
from resnetlab.models.nets.shortcuts import make_shortcut


class ImageNetNetwork(nn.Module):
    """Network for ImageNet: stem, four stages, average pooling, classifier; images of any size."""

    def __init__(self, config: ImageNetConfig, channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(64)
        stages, width = [], 64
        for stage, (count, inner) in enumerate(zip(config.blocks, WIDTHS, strict=True)):
            blocks = []
            for block in range(count):
                stride = 2 if stage and not block else 1
                convolutions = config.convolutions(inner, stride)
                out = convolutions[-1][0]
                shortcut = (
                    None
                    if config.shortcut == "none"
                    else make_shortcut(config.shortcut, width, out, stride, True)
                )
                blocks.append(Block(width, convolutions, shortcut))
                width = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W)."""
        x = F.relu(self.stem_norm(self.stem(images)))
        x = F.max_pool2d(x, 3, 2, 1)
        x = self.stages(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: Tensor = self.head(x)
        return logits
