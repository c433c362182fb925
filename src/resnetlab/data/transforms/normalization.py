"""Normalization of pixels by the mode of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import Tensor

from resnetlab.data.config import CHANNEL_STATS_PRESETS, ChannelStats, LabeledImages, NormalizeMode
from resnetlab.data.transforms import zca
from resnetlab.data.transforms.augment import center_crop, normalize
from resnetlab.data.transforms.zca import ZCAWhitening


@dataclass(frozen=True)
class ChannelNormalizer:
    """Normalization by channel: (x - mean) / std."""

    values: tuple[list[float], list[float]]
    """Mean and std as Python numbers; they are rounded to fp32 only when they are applied."""
    mean: Tensor
    std: Tensor

    @classmethod
    def from_stats(
        cls, mean: list[float], std: list[float], device: torch.device
    ) -> ChannelNormalizer:
        """Create from numbers, in units of x from 0 to 1."""
        return cls(
            (mean, std),
            torch.tensor(mean, device=device),
            torch.tensor(std, device=device),
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalize (B, H, W, C) uint8 to (B, C, H, W) fp32."""
        return normalize(pixels, self.mean, self.std)


@dataclass(frozen=True)
class PerImageNormalizer:
    """Normalization of each image by mean and standard deviation of its own pixels and channels.

    The standard deviation has a lower bound: that of an image with a single value one step of 255
    off. So a uniform image stays uniform, as in TensorFlow's `per_image_standardization`.
    """

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalize (B, H, W, C) uint8 to (B, C, H, W) fp32."""
        flat = pixels.flatten(1).float()
        lower_bound = flat.shape[1] ** -0.5
        deviation, mean = torch.std_mean(flat, 1, correction=0, keepdim=True)
        normalized = (flat - mean) / deviation.clamp(min=lower_bound)
        return normalized.view(pixels.shape).permute(0, 3, 1, 2)


Normalizer = ChannelNormalizer | PerImageNormalizer | ZCAWhitening


def fit_normalizer(
    mode: NormalizeMode, train: LabeledImages, crop_size: int, device: torch.device
) -> Normalizer:
    """Return the normalization `mode` on `device`, fitted to the train images if necessary.

    `crop_size` is the side of the network's input in pixels, or 0 for uncropped images: whitening
    is fitted to center crops of that size.
    """
    channels = train.pixels.shape[3]
    match mode:
        case "train":
            mean, deviation = channel_statistics(train)
            # A std of 1.0 keeps a constant channel constant.
            return ChannelNormalizer.from_stats(mean, [value or 1.0 for value in deviation], device)
        case "half":
            return ChannelNormalizer.from_stats([0.5] * channels, [0.5] * channels, device)
        case "none":
            return ChannelNormalizer.from_stats([0.0] * channels, [1.0] * channels, device)
        case ChannelStats():
            return ChannelNormalizer.from_stats(list(mode.mean), list(mode.std), device)
        case "imagenet" | "practical":
            return fit_normalizer(CHANNEL_STATS_PRESETS[mode], train, crop_size, device)
        case "per-image":
            return PerImageNormalizer()
        case "zca":
            cropped = center_crop(torch.from_numpy(train.pixels), crop_size)
            return zca.fit(cropped.numpy()).to(device)
        case _:
            assert_never(mode)


def export_normalizer(normalizer: Normalizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the metadata and tensors by which a weights file normalizes pixels in the same way."""
    match normalizer:
        case ChannelNormalizer(values=(mean, deviation)):
            return {"mean": mean, "std": deviation}, {}
        case PerImageNormalizer():
            return {"normalize": "per-image"}, {}
        case ZCAWhitening(mean=mean, matrix=matrix):
            return {"normalize": "zca"}, {"mean": mean, "matrix": matrix}
        case _:
            assert_never(normalizer)


def channel_statistics(images: LabeledImages) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel over all pixels, x in 0 to 1, exactly rounded.

    They are computed from the histogram of the 256 values, so that no order of summation matters.
    """
    means, deviations = [], []
    values = torch.arange(256, dtype=torch.float64)
    for channel in range(images.pixels.shape[3]):
        pixels = torch.from_numpy(images.pixels[..., channel].reshape(-1))
        counts = torch.bincount(pixels, minlength=256).double()
        mean = (counts * values).sum() / counts.sum()
        variance = (counts * (values - mean) ** 2).sum() / counts.sum()
        means.append(float(mean / 255))
        deviations.append(float(variance.sqrt() / 255))
    return means, deviations
