"""Random draws of an epoch, made in advance from seed and epoch: the order and the augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from resnetlab.data.config import Augment

NUM_OPERATIONS = 14
"""Number of operations from which RandAugment draws (`randaugment.OPERATIONS`)."""


@dataclass(frozen=True)
class EpochDraws:
    """Random draws of one epoch, in the order in which images are used."""

    order: Tensor  # (N,) int64: index of the image
    crop_offset: (
        Tensor  # (N, 2) int64: top and left of its crop, from 0 to 2 x padding, or to side - crop
    )
    hflip: Tensor  # (N,) bool
    cutout_center: Tensor  # (N, 2) int64: row and column of the center of its cutout
    op: Tensor  # (N, R) int64: RandAugment's operations in order; R is 0 without it
    op_flip: Tensor  # (N, R) bool: true for the negative direction of an operation that has two
    mix_lambda: Tensor  # (N,) fp32: mixup weight of the image itself; empty without mixup
    mix_partner: Tensor  # (N,) fp64: their order within a batch decides the mixup partners

    def to(self, device: torch.device) -> EpochDraws:
        """Return the same plan on a device."""
        return EpochDraws(
            **{field.name: getattr(self, field.name).to(device) for field in fields(self)}
        )


def draw_epoch(
    num_images: int,
    image_size: int,
    augment: Augment,
    generator_for: Callable[[str], torch.Generator],
) -> EpochDraws:
    """Draw the random numbers of an epoch.

    Each kind of draw has its own stream, so that a recipe with flips has the same batches and
    crops as one without.

    Args:
        num_images: Number of train images.
        image_size: Side of the images in pixels.
        augment: Augmentation of the recipe.
        generator_for: Function that returns the generator of a kind of draw.
    """
    margin = image_size - augment.crop if augment.crop else 2 * augment.crop_padding
    rounds = augment.randaugment.operations if augment.randaugment else 0
    mixed = num_images if augment.mixup else 0
    beta = np.random.default_rng(
        generator_for("mixup").initial_seed()
    )  # torch cannot draw from Beta with a generator
    return EpochDraws(
        order=torch.randperm(num_images, generator=generator_for("order")),
        crop_offset=torch.randint(margin + 1, (num_images, 2), generator=generator_for("crop")),
        hflip=torch.rand(num_images, generator=generator_for("flip")) < 0.5,
        cutout_center=torch.randint(
            augment.crop or image_size, (num_images, 2), generator=generator_for("cutout")
        ),
        op=torch.randint(
            NUM_OPERATIONS, (num_images, rounds), generator=generator_for("operation")
        ),
        op_flip=torch.rand(num_images, rounds, generator=generator_for("opposite")) < 0.5,
        mix_lambda=torch.from_numpy(
            beta.beta(augment.mixup or 1.0, augment.mixup or 1.0, mixed)
        ).float(),
        mix_partner=torch.rand(mixed, dtype=torch.float64, generator=generator_for("mate")),
    )
