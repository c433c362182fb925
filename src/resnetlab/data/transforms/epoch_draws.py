"""Random draws of an epoch, made in advance: the order of images and their augmentation, from seed
and epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from resnetlab.data.config import Augment

OPERATIONS = 14
"""Number of operations from which RandAugment draws (`randaugment.OPERATIONS`)."""


@dataclass(frozen=True)
class EpochPlan:
    """Random draws of one epoch, in the order in which images are used."""

    order: Tensor  # (N,) int64: index of the image
    corner: (
        Tensor  # (N, 2) int64: top and left of its crop, from 0 to 2 x padding, or to side - crop
    )
    mirror: Tensor  # (N,) bool
    hole: Tensor  # (N, 2) int64: row and column of the center of its cutout
    operation: Tensor  # (N, R) int64: RandAugment's operations in order; R is 0 without it
    opposite: Tensor  # (N, R) bool: true for the negative direction of an operation that has two
    share: Tensor  # (N,) fp32: mixup weight of the image itself; empty without mixup
    mate: Tensor  # (N,) fp64: their order within a batch decides the mixup partners

    def to(self, device: torch.device) -> EpochPlan:
        """Return the same plan on a device."""
        return EpochPlan(
            **{field.name: getattr(self, field.name).to(device) for field in fields(self)}
        )


def plan_epoch(
    images: int, side: int, augment: Augment, draw: Callable[[str], torch.Generator]
) -> EpochPlan:
    """Draw an epoch over `images` train images of `side` pixels; `draw` returns a generator for
    each kind of draw.

    Each kind has its own stream, so that a recipe with flips has the same batches and crops as one
    without.
    """
    margin = side - augment.crop if augment.crop else 2 * augment.crop_padding
    rounds = augment.randaugment.operations if augment.randaugment else 0
    mixed = images if augment.mixup else 0
    beta = np.random.default_rng(
        draw("mixup").initial_seed()
    )  # torch cannot draw from Beta with a generator
    return EpochPlan(
        order=torch.randperm(images, generator=draw("order")),
        corner=torch.randint(margin + 1, (images, 2), generator=draw("crop")),
        mirror=torch.rand(images, generator=draw("flip")) < 0.5,
        hole=torch.randint(augment.crop or side, (images, 2), generator=draw("cutout")),
        operation=torch.randint(OPERATIONS, (images, rounds), generator=draw("operation")),
        opposite=torch.rand(images, rounds, generator=draw("opposite")) < 0.5,
        share=torch.from_numpy(
            beta.beta(augment.mixup or 1.0, augment.mixup or 1.0, mixed)
        ).float(),
        mate=torch.rand(mixed, dtype=torch.float64, generator=draw("mate")),
    )
