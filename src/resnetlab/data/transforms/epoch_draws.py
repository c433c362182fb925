"""The order of an epoch and the draws of its augmentation, ahead of time, as a function of seed and epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from resnetlab.data.config import Augment

OPERATIONS = 14
"""That RandAugment draws from: those of `randaugment.OPERATIONS`."""


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch meets, image by image in the order in which they come."""

    order: Tensor  # (N,) int64: which image
    corner: Tensor  # (N, 2) int64: top and left of its crop, from 0 to 2 x padding, or to what a smaller crop leaves
    mirror: Tensor  # (N,) bool
    hole: Tensor  # (N, 2) int64: row and column of the centre of its cutout
    operation: Tensor  # (N, R) int64: RandAugment's, one after another; R is 0 without it
    opposite: Tensor  # (N, R) bool: whether an operation that has two directions takes the other one
    share: Tensor  # (N,) fp32: of the image in its mixture with a mate; empty without mixup
    mate: Tensor  # (N,) fp64: their order within a batch says who is whose mate

    def to(self, device: torch.device) -> EpochPlan:
        """The same plan on a device."""
        return EpochPlan(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def plan_epoch(images: int, side: int, augment: Augment, draw: Callable[[str], torch.Generator]) -> EpochPlan:
    """Draw an epoch over `images` train images of `side` pixels; `draw` gives a generator for each kind of draw.

    Each kind has a stream of its own: a recipe that adds flips meets the batches and the crops of one that does not.
    """
    room = side - augment.crop if augment.crop else 2 * augment.crop_padding
    rounds = augment.randaugment.operations if augment.randaugment else 0
    mixed = images if augment.mixup else 0
    beta = np.random.default_rng(draw("mixup").initial_seed())  # torch draws no Beta from a generator
    return EpochPlan(
        order=torch.randperm(images, generator=draw("order")),
        corner=torch.randint(room + 1, (images, 2), generator=draw("crop")),
        mirror=torch.rand(images, generator=draw("flip")) < 0.5,
        hole=torch.randint(augment.crop or side, (images, 2), generator=draw("cutout")),
        operation=torch.randint(OPERATIONS, (images, rounds), generator=draw("operation")),
        opposite=torch.rand(images, rounds, generator=draw("opposite")) < 0.5,
        share=torch.from_numpy(beta.beta(augment.mixup or 1.0, augment.mixup or 1.0, mixed)).float(),
        mate=torch.rand(mixed, dtype=torch.float64, generator=draw("mate")),
    )
