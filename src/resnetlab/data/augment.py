"""Pure functions on a batch of images; every image has draws of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from resnetlab.data.plan import EpochPlan
from resnetlab.data.spec import Augment


def crop_and_flip(pixels: Tensor, corner: Tensor | None, mirror: Tensor | None, padding: int) -> Tensor:
    """Cut each image of (B, H, W, C) at its corner from itself with `padding` black pixels around; mirror some.

    `corner` (B, 2) int64 holds top and left, `mirror` (B,) bool; None leaves that step out. One gather for both.
    """
    if corner is None and mirror is None:
        return pixels
    batch, height, width, _ = pixels.shape
    rows = torch.arange(height, device=pixels.device)[None, :].expand(batch, -1)
    columns = torch.arange(width, device=pixels.device)[None, :].expand(batch, -1)
    if mirror is not None:
        columns = torch.where(mirror[:, None], width - 1 - columns, columns)
    if corner is not None:
        pixels = F.pad(pixels, (0, 0, padding, padding, padding, padding))
        rows, columns = rows + corner[:, :1], columns + corner[:, 1:]
    image = torch.arange(batch, device=pixels.device)
    return pixels[image[:, None, None], rows[:, :, None], columns[:, None, :]]


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


def train_batch(
    pixels: Tensor, plan: EpochPlan, part: slice, augment: Augment, mean: Tensor, deviation: Tensor
) -> Tensor:
    """Part of an epoch, augmented and normalised: (B, C, H, W), from the whole split (N, H, W, C)."""
    corner = plan.corner[part] if augment.crop_padding else None
    mirror = plan.mirror[part] if augment.flip else None
    chosen = crop_and_flip(pixels[plan.order[part]], corner, mirror, augment.crop_padding)
    images = normalise(chosen, mean, deviation)
    return cut_out(images, plan.hole[part], augment.cutout) if augment.cutout else images
