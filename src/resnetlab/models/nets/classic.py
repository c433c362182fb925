"""LeNet-5, an AlexNet for CIFAR, and VGG."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.models.configs.classic import AlexNetCifarConfig, LeNet5Config, VGGConfig
from resnetlab.models.configs.dense import DenseNetConfig


class LeNet5Network(nn.Module):
    """LeNet-5 for 28x28 images: two convolutions with tanh and max pooling, three linear layers."""

    def __init__(self, config: LeNet5Config, channels: int, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc3 = nn.Linear(400, 120)
        self.fc4 = nn.Linear(120, 84)
        self.fc5 = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, 28, 28)."""
        check_image_size(self.config, images)
        x = F.max_pool2d(torch.tanh(self.conv1(images)), 2)
        x = F.max_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.fc3(x.flatten(1)))
        logits: Tensor = self.fc5(torch.tanh(self.fc4(x)))
        return logits


class AlexNetCifarNetwork(nn.Module):
    """Small AlexNet: three 5x5 convolutions with ReLU and max pooling, two linear layers.

    It takes 32x32 images, or 28x28 images with `ceil_mode`.
    """

    def __init__(self, config: AlexNetCifarConfig, channels: int, num_classes: int) -> None:
        super().__init__()
        self.config = config
        for layer, (in_channels, out) in enumerate(((channels, 32), (32, 64), (64, 64)), 1):
            self.add_module(f"conv{layer}", nn.Conv2d(in_channels, out, 5, padding=2))
            self.add_module(
                f"norm{layer}", nn.BatchNorm2d(out) if config.batch_norm else nn.Identity()
            )
            self.add_module(
                f"pool{layer}", nn.MaxPool2d(2, ceil_mode=config.ceil_mode and layer == 3)
            )
        self.fc4 = nn.Linear(1024, 1000)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.fc5 = nn.Linear(1000, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, 32, 32)."""
        check_image_size(self.config, images)
        x = images
        for layer in (1, 2, 3):
            conv, norm, pool = (
                getattr(self, f"{kind}{layer}") for kind in ("conv", "norm", "pool")
            )
            x = pool(F.relu(norm(conv(x))))
        x = self.dropout(F.relu(self.fc4(x.flatten(1))))
        logits: Tensor = self.fc5(x)
        return logits


class VGGNetwork(nn.Module):
    """VGG: stages of 3x3 convolutions, each with a max pooling, then three linear layers."""

    def __init__(self, config: VGGConfig, channels: int, num_classes: int) -> None:
        super().__init__()
        self.config = config
        stages = []
        for count, width in zip(config.convolutions, config.widths, strict=True):
            layers = []
            for _ in range(count):
                layers.append(nn.Sequential())
                layers[-1].add_module("conv", nn.Conv2d(channels, width, 3, padding=1))
                layers[-1].add_module(
                    "norm", nn.BatchNorm2d(width) if config.batch_norm else nn.Identity()
                )
                layers[-1].add_module("relu", nn.ReLU())
                channels = width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.fc1 = nn.Linear(49 * channels, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.hidden)
        self.fc3 = nn.Linear(config.hidden, num_classes)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W)."""
        check_image_size(self.config, images)
        x = images
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2)
        x = (F.adaptive_avg_pool2d(x, 7) if self.config.adaptive_pool else x).flatten(1)
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(F.relu(self.fc2(x)))
        logits: Tensor = self.fc3(x)
        return logits


def check_image_size(
    config: LeNet5Config | AlexNetCifarConfig | VGGConfig | DenseNetConfig, images: Tensor
) -> None:
    """Raise InputError with the layer that cannot take such images, and the smallest size."""
    for side in {images.shape[2], images.shape[3]}:
        config.cost(images.shape[1], 1, side)
