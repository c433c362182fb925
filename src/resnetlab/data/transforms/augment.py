"""Pure functions on a batch of images; every image has draws of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from resnetlab.data.config import Augment
from resnetlab.data.transforms.epoch_draws import EpochPlan


def crop_and_flip(pixels: Tensor, corner: Tensor | None, mirror: Tensor | None, padding: int, size: int = 0) -> Tensor:
    """Cut each image of (B, H, W, C) at its corner from itself with `padding` black pixels around; mirror some.

    `corner` (B, 2) int64 holds top and left, `mirror` (B,) bool; None leaves that step out. A crop has `size` pixels a
    side, 0 for as many as the image. One gather for both.
    """
    if corner is None and mirror is None:
        return pixels
    batch, height, width, _ = pixels.shape
    height, width = (size or height, size or width)
    rows = torch.arange(height, device=pixels.device)[None, :].expand(batch, -1)
    columns = torch.arange(width, device=pixels.device)[None, :].expand(batch, -1)
    if mirror is not None:
        columns = torch.where(mirror[:, None], width - 1 - columns, columns)
    if corner is not None:
        pixels = F.pad(pixels, (0, 0, padding, padding, padding, padding))
        rows, columns = rows + corner[:, :1], columns + corner[:, 1:]
    image = torch.arange(batch, device=pixels.device)
    return pixels[image[:, None, None], rows[:, :, None], columns[:, None, :]]


def centre(pixels: Tensor, size: int) -> Tensor:
    """The middle of (B, H, W, C), `size` pixels a side; all of it where `size` is 0."""
    if not size:
        return pixels
    top, left = ((length - size) // 2 for length in pixels.shape[1:3])
    return pixels[:, top : top + size, left : left + size]


def cut_out(images: Tensor, hole: Tensor, size: int) -> Tensor:
    """Set a square of `size` pixels about `hole` (B, 2) to 0, the mean, in each of (B, C, H, W); it may overhang."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)[None, :] - hole[:, :1] + size // 2
    columns = torch.arange(width, device=images.device)[None, :] - hole[:, 1:] + size // 2
    inside = ((rows >= 0) & (rows < size))[:, None, :, None] & ((columns >= 0) & (columns < size))[:, None, None, :]
    return torch.where(inside, 0.0, images)  # keeps channels-last, which masked_fill does not


def normalise(pixels: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """(B, H, W, C) uint8 to (B, C, H, W) fp32, (x / 255 - mean) / deviation; channels-last in memory."""
    return ((pixels.float() - 255 * mean) / (255 * deviation)).permute(0, 3, 1, 2)


def mix(values: Tensor, share: Tensor, mate: Tensor) -> Tensor:
    """Each of (B, ...) by its share, and by the rest another of the batch: the one at its place in the order of `mate`.

    Zhang et al. 2018, sec. 2, with a share an image and mates from the same batch, as they recommend.
    """
    by = share.view(-1, *[1] * (values.dim() - 1))
    return by * values + (1 - by) * values[mate.argsort(stable=True)]


def train_batch(
    pixels: Tensor, plan: EpochPlan, part: slice | Tensor, augment: Augment, scale: Callable[[Tensor], Tensor]
) -> Tensor:
    """Part of an epoch, augmented, and put on its `scale`: (B, C, H, W), from the whole split (N, H, W, C)."""
    corner = plan.corner[part] if augment.crop_padding or augment.crop else None
    mirror = plan.mirror[part] if augment.flip else None
    chosen = crop_and_flip(pixels[plan.order[part]], corner, mirror, augment.crop_padding, augment.crop)
    if augment.randaugment:
        from resnetlab.data.transforms.randaugment import (
            rand_augment,  # torchvision's operations take seconds to import
        )

        chosen = rand_augment(chosen, plan.operation[part], plan.opposite[part], augment.randaugment.magnitude)
    images = scale(chosen)
    if augment.cutout:
        images = cut_out(images, plan.hole[part], augment.cutout)
    return mix(images, plan.share[part], plan.mate[part]) if augment.mixup else images


def train_labels(labels: Tensor, plan: EpochPlan, part: slice | Tensor, augment: Augment, classes: int) -> Tensor:
    """The labels (B,) of part of an epoch; with mixup the shares (B, K) of the classes in each mixture."""
    chosen = labels[plan.order[part]]
    return mix(F.one_hot(chosen, classes).float(), plan.share[part], plan.mate[part]) if augment.mixup else chosen
