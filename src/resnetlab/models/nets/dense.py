"""DenseNets for small images (Huang et al. 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.models.configs.dense import DenseNetConfig
from resnetlab.models.nets.classic import check_image_size


class DenseLayer(nn.Module):
    """Dense layer: batch norm, ReLU, 3x3 convolution. Its output is concatenated to its input."""

    def __init__(self, channels: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C + growth, H, W) for (B, C, H, W)."""
        return torch.cat([x, self.dropout(self.conv(F.relu(self.norm(x))))], 1)


class Transition(nn.Module):
    """Transition layer: batch norm, ReLU, 1x1 convolution, 2x2 average pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H / 2, W / 2) for (B, C, H, W)."""
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNetwork(nn.Module):
    """DenseNet: stem, three dense blocks with transitions, norm, average pooling, classifier."""

    def __init__(self, config: DenseNetConfig, channels: int, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(channels, config.stem, 3, padding=1, bias=False)
        width, blocks, transitions = config.stem, [], []
        for block in range(3):
            layers = [
                DenseLayer(width + i * config.growth, config.growth, config.dropout)
                for i in range(config.layers)
            ]
            blocks.append(nn.Sequential(*layers))
            width += config.layers * config.growth
            transitions += [Transition(width)] if block < 2 else []
        self.blocks, self.transitions = nn.ModuleList(blocks), nn.ModuleList(transitions)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W)."""
        check_image_size(self.config, images)
        x = self.stem(images)
        for block, transition in zip(self.blocks, [*self.transitions, nn.Identity()], strict=True):
            x = transition(block(x))
        x = F.adaptive_avg_pool2d(F.relu(self.norm(x)), 1).flatten(1)
        logits: Tensor = self.head(x)
        return logits
