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

    order: Tensor
    """Index of the image, (N,) int64."""
    crop_offset: Tensor
    """Top and left of its crop, (N, 2) int64, from 0 to 2 x padding, or to side - crop."""
    hflip: Tensor
    """True for an image that is flipped, (N,) bool."""
    cutout_center: Tensor
    """Row and column of the center of its cutout, (N, 2) int64."""
    op: Tensor
    """RandAugment's operations in order, (N, R) int64; R is 0 without it."""
    op_flip: Tensor
    """True for the negative direction of an operation that has two, (N, R) bool."""
    mix_lambda: Tensor
    """Mixup weight of the image itself, (N,) fp32; empty without mixup."""
    mix_sort_keys: Tensor
    """Numbers whose order within a batch decides the mixup partners, (N,) fp64."""

    def to(self, device: torch.device) -> EpochDraws:
        """Return the same draws on a device."""
        tensors = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return EpochDraws(**tensors)


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
    alpha = augment.mixup or 1.0
    # numpy draws these, because torch cannot draw from Beta with a generator.
    beta_generator = np.random.default_rng(generator_for("mixup").initial_seed())
    mix_lambda = beta_generator.beta(alpha, alpha, mixed)
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
        mix_lambda=torch.from_numpy(mix_lambda).float(),
        # The name of the stream decides its draws, so it stays.
        mix_sort_keys=torch.rand(mixed, dtype=torch.float64, generator=generator_for("mate")),
    )
