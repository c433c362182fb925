"""RandAugment (Cubuk et al. 2020) on a batch: torchvision's operations, each on the images that drew it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as ops

Operation = Callable[[Tensor, float], Any]
"""Images (B, C, H, W) uint8, and the magnitude: from 0 to 1, or from -1 where the operation has two directions."""


def _moved(images: Tensor, across: float = 0.0, down: float = 0.0) -> Any:
    return ops.affine(images, angle=0.0, translate=[int(across), int(down)], scale=1.0, shear=[0.0, 0.0])


def _sheared(images: Tensor, across: float = 0.0, down: float = 0.0) -> Any:
    """By that many pixels a pixel, from the upper left corner."""
    shear = [math.degrees(math.atan(across)), math.degrees(math.atan(down))]
    return ops.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, center=[0, 0])


OPERATIONS: tuple[Operation, ...] = (
    lambda images, _: images,
    lambda images, size: _sheared(images, across=0.3 * size),
    lambda images, size: _sheared(images, down=0.3 * size),
    lambda images, size: _moved(images, across=150 / 331 * size * images.shape[3]),
    lambda images, size: _moved(images, down=150 / 331 * size * images.shape[2]),
    lambda images, size: ops.rotate(images, 30 * size),
    lambda images, size: ops.adjust_brightness(images, 1 + 0.9 * size),
    lambda images, size: ops.adjust_saturation(images, 1 + 0.9 * size),
    lambda images, size: ops.adjust_contrast(images, 1 + 0.9 * size),
    lambda images, size: ops.adjust_sharpness(images, 1 + 0.9 * size),
    lambda images, size: ops.posterize(images, round(8 - 4 * size)),
    lambda images, size: ops.solarize(images, 255 * (1 - size)),
    lambda images, _: ops.autocontrast(images),
    lambda images, _: ops.equalize(images),
)
"""The space and the ranges of torchvision's RandAugment, which are those of the paper's code."""

TWO_WAYS = range(1, 10)
"""Those that have two directions."""


def rand_augment(pixels: Tensor, operation: Tensor, opposite: Tensor, magnitude: int) -> Tensor:
    """Each image of (B, H, W, C) uint8 after its operations, drawn as `operation` and `opposite` (B, R) say.

    `magnitude` is from 0 to 30. Images that drew the same go through it together.
    """
    images = pixels.permute(0, 3, 1, 2).contiguous()
    for drawn, back in zip(operation.T.tolist(), opposite.T.tolist(), strict=True):
        groups: dict[tuple[int, bool], list[int]] = {}
        for place, (kind, other) in enumerate(zip(drawn, back, strict=True)):
            groups.setdefault((kind, other and kind in TWO_WAYS), []).append(place)
        for (kind, other), places in groups.items():
            chosen = torch.tensor(places, device=images.device)
            images[chosen] = OPERATIONS[kind](images[chosen], (-1 if other else 1) * magnitude / 30)
    return images.permute(0, 2, 3, 1)
