"""Batch augmentation as pure functions; every image has its own random draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from resnetlab.data.config import Augment
from resnetlab.data.transforms.epoch_draws import EpochDraws


def crop_and_hflip(
    pixels: Tensor, crop_offset: Tensor | None, hflip: Tensor | None, padding: int, size: int = 0
) -> Tensor:
    """Crop each image and flip some horizontally. One indexing operation does both.

    Args:
        pixels: Images (B, H, W, C).
        crop_offset: Top and left of each crop in the padded image (B, 2) int64; None for no crop.
        hflip: True for each image to flip (B,) bool; None for no flip.
        padding: Number of black pixels around each image.
        size: Side of the crop in pixels; 0 for the size of the image.
    """
    if crop_offset is None and hflip is None:
        return pixels
    batch, height, width, _ = pixels.shape
    height, width = (size or height, size or width)
    rows = torch.arange(height, device=pixels.device)[None, :].expand(batch, -1)
    columns = torch.arange(width, device=pixels.device)[None, :].expand(batch, -1)
    if hflip is not None:
        columns = torch.where(hflip[:, None], width - 1 - columns, columns)
    if crop_offset is not None:
        pixels = F.pad(pixels, (0, 0, padding, padding, padding, padding))
        rows, columns = rows + crop_offset[:, :1], columns + crop_offset[:, 1:]
    index = torch.arange(batch, device=pixels.device)
    return pixels[index[:, None, None], rows[:, :, None], columns[:, None, :]]


def center_crop(pixels: Tensor, size: int) -> Tensor:
    """Return the center crop of (B, H, W, C), `size` pixels a side; all of it if `size` is 0."""
    if not size:
        return pixels
    top, left = ((length - size) // 2 for length in pixels.shape[1:3])
    return pixels[:, top : top + size, left : left + size]


def cutout(images: Tensor, cutout_center: Tensor, size: int) -> Tensor:
    """Set a square around `cutout_center` (B, 2) in each of (B, C, H, W) to 0; borders cut it."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)[None, :] - cutout_center[:, :1] + size // 2
    columns = torch.arange(width, device=images.device)[None, :] - cutout_center[:, 1:] + size // 2
    inside_rows = (rows >= 0) & (rows < size)
    inside_columns = (columns >= 0) & (columns < size)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return torch.where(inside, 0.0, images)  # keeps channels-last, which masked_fill does not


def normalize(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (x / 255 - mean) / std: (B, H, W, C) uint8 to (B, C, H, W) fp32, channels-last."""
    return ((pixels.float() - 255 * mean) / (255 * std)).permute(0, 3, 1, 2)


def mixup(values: Tensor, mix_lambda: Tensor, mix_sort_keys: Tensor) -> Tensor:
    """Mix each of (B, ...) with a partner from the batch.

    Sorting `mix_sort_keys` (B,) gives the partners; `mix_lambda` (B,) is the weight of the image
    itself.

    Zhang et al. 2018, sec. 2, with one weight per image and partners from the same batch, as they
    recommend.
    """
    weight = mix_lambda.view(-1, *[1] * (values.dim() - 1))
    return weight * values + (1 - weight) * values[mix_sort_keys.argsort(stable=True)]


def train_batch(
    pixels: Tensor,
    draws: EpochDraws,
    positions: slice | Tensor,
    augment: Augment,
    normalizer: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return a batch (B, C, H, W) of the split (N, H, W, C), augmented and normalized."""
    crop_offset = draws.crop_offset[positions] if augment.crop_padding or augment.crop else None
    hflip = draws.hflip[positions] if augment.flip else None
    batch = pixels[draws.order[positions]]
    batch = crop_and_hflip(batch, crop_offset, hflip, augment.crop_padding, augment.crop)
    if augment.randaugment:
        # The import is here because torchvision's operations take seconds to import.
        from resnetlab.data.transforms.randaugment import rand_augment

        batch = rand_augment(
            batch, draws.op[positions], draws.op_flip[positions], augment.randaugment.magnitude
        )
    images = normalizer(batch)
    if augment.cutout:
        images = cutout(images, draws.cutout_center[positions], augment.cutout)
    if augment.mixup:
        return mixup(images, draws.mix_lambda[positions], draws.mix_sort_keys[positions])
    return images


def train_labels(
    labels: Tensor, draws: EpochDraws, positions: slice | Tensor, augment: Augment, num_classes: int
) -> Tensor:
    """Return the labels (B,) of a part of an epoch; with mixup the class probabilities (B, K)."""
    batch = labels[draws.order[positions]]
    if augment.mixup:
        one_hot = F.one_hot(batch, num_classes).float()
        return mixup(one_hot, draws.mix_lambda[positions], draws.mix_sort_keys[positions])
    return batch
