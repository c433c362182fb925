"""The order of an epoch and the draws of its augmentation, ahead of time, as a function of seed and epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch meets, image by image in the order in which they come."""

    order: Tensor  # (N,) int64: which image
    corner: Tensor  # (N, 2) int64: top and left of its crop, from 0 to 2 x padding
    mirror: Tensor  # (N,) bool
    hole: Tensor  # (N, 2) int64: row and column of the centre of its cutout

    def to(self, device: torch.device) -> EpochPlan:
        """The same plan on a device."""
        return EpochPlan(*(part.to(device) for part in (self.order, self.corner, self.mirror, self.hole)))


def plan_epoch(images: int, side: int, padding: int, draw: Callable[[str], torch.Generator]) -> EpochPlan:
    """Draw an epoch over `images` train images of `side` pixels; `draw` gives a generator for each kind of draw.

    Each kind has a stream of its own: a recipe that adds flips meets the batches and the crops of one that does not.
    """
    return EpochPlan(
        order=torch.randperm(images, generator=draw("order")),
        corner=torch.randint(2 * padding + 1, (images, 2), generator=draw("crop")),
        mirror=torch.rand(images, generator=draw("flip")) < 0.5,
        hole=torch.randint(side, (images, 2), generator=draw("cutout")),
    )
