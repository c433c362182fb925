"""Training loops as people write them, with a Dataset of PIL images in a DataLoader, and timm's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from resnetlab.training.hardware import processor_has_bf16


def made(
    side: int, channels: int, count: int, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Random pixels (N, H, W, C) and labels (N,) of ten classes: a step costs the same whatever
    they show.
    """
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    return pixels, generator.integers(0, 10, count)


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Dataset that converts each image to PIL and transforms it, as torchvision's CIFAR10 does."""

    transform: Callable[[Image.Image], Any]
    """May be replaced, as timm's loader does."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        side, channels = pixels.shape[1], pixels.shape[3]
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(side, padding=side // 8),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * channels, (0.25,) * channels),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[place].squeeze())), int(
            self.labels[place]
        )


def epochs(
    model: nn.Module,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    batch_size: int,
    *,
    tuned: bool,
    device: torch.device,
    workers: int = 2,
) -> Iterator[int]:
    """Train without end; yields the images of each step.

    Stock: fp32, NCHW, `.item()` of every loss. `tuned`: channels-last, no `.item()`, workers that
    stay, and bf16 unless the processor would emulate it, as its author would choose for the machine
    at hand.
    """
    layout = torch.channels_last if tuned else torch.contiguous_format
    model = model.to(device).to(memory_format=layout).train()
    pinned = device.type == "cuda"
    bf16 = tuned and (pinned or processor_has_bf16())
    loader = DataLoader(
        Pictures(pixels, labels),
        batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=tuned and workers > 0,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    running = 0.0
    while True:
        for images, targets in loader:
            images = images.to(device, non_blocking=pinned, memory_format=layout)
            targets = targets.to(device, non_blocking=pinned)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext():
                logits = model(images)
            loss = criterion(logits.float(), targets)
            loss.backward()
            optimizer.step()
            if not tuned:
                running += loss.item()
            yield len(targets)


def timm_epochs(
    model: nn.Module,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    batch_size: int,
    *,
    workers: int,
) -> Iterator[int]:
    """Train without end as timm's `train.py` does; yields the images of each step.

    The loader, the optimizer and the meters are timm's, called in the order of its
    `train_one_epoch`, with the options `--device cpu --workers 2 --smoothing 0 --color-jitter 0
    --opt sgd --momentum 0.9 --weight-decay 1e-4` and the other defaults: fp32, NCHW, a random
    resized crop, a flip and `.item()` of every loss. The script itself is not a part of timm's
    package.
    """
    from timm.data import create_loader  # type: ignore[attr-defined]
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter

    side, channels = pixels.shape[1], pixels.shape[3]
    loader = create_loader(
        Pictures(pixels, labels),
        (channels, side, side),
        batch_size,
        is_training=True,
        color_jitter=0.0,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        num_workers=workers,
        device=torch.device("cpu"),
    )
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion, losses = nn.CrossEntropyLoss(), AverageMeter()
    model.train()
    while True:
        optimizer.zero_grad()
        for images, targets in loader:
            loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(targets))
            optimizer.zero_grad()
            yield len(targets)
