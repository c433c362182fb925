"""RandAugment (Cubuk et al. 2020) on a batch: each operation on the images that drew it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as ops

Operation = Callable[[Tensor, float], Any]
"""Operation on (B, C, H, W) uint8 with a magnitude from 0 to 1, or -1 to 1 with two directions."""


def translate(images: Tensor, across: float = 0.0, down: float = 0.0) -> Any:
    """Move images by whole pixels; the fraction is cut off."""
    return ops.affine(
        images, angle=0.0, translate=[int(across), int(down)], scale=1.0, shear=[0.0, 0.0]
    )


def shear(images: Tensor, across: float = 0.0, down: float = 0.0) -> Any:
    """Shear images around the upper left corner, in pixels per pixel."""
    angles = [math.degrees(math.atan(across)), math.degrees(math.atan(down))]
    return ops.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=angles, center=[0, 0])


OPERATIONS: tuple[Operation, ...] = (
    lambda images, _: images,
    lambda images, size: shear(images, across=0.3 * size),
    lambda images, size: shear(images, down=0.3 * size),
    lambda images, size: translate(images, across=150 / 331 * size * images.shape[3]),
    lambda images, size: translate(images, down=150 / 331 * size * images.shape[2]),
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
"""Operations and ranges of torchvision's RandAugment, which are those of the paper's code."""

SIGNED_OPERATIONS = range(1, 10)
"""Indices of the operations that have two directions."""


def rand_augment(pixels: Tensor, op: Tensor, op_flip: Tensor, magnitude: int) -> Tensor:
    """Apply to each of (B, H, W, C) uint8 the operations that `op` and `op_flip` (B, R) give it.

    `magnitude` is from 0 to 30. Images with the same operation are processed together.
    """
    images = pixels.permute(0, 3, 1, 2).contiguous()
    for kinds, negatives in zip(op.T.tolist(), op_flip.T.tolist(), strict=True):
        groups: dict[tuple[int, bool], list[int]] = {}
        for index, (kind, negative) in enumerate(zip(kinds, negatives, strict=True)):
            groups.setdefault((kind, negative and kind in SIGNED_OPERATIONS), []).append(index)
        for (kind, negative), indices in groups.items():
            selected = torch.tensor(indices, device=images.device)
            images[selected] = OPERATIONS[kind](
                images[selected], (-1 if negative else 1) * magnitude / 30
            )
    return images.permute(0, 2, 3, 1)
