"""Normalization of pixels, as a recipe asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import Tensor

from resnetlab.data.config import PRESETS, Fixed, Images, Normalise
from resnetlab.data.device_images import channel_statistics
from resnetlab.data.transforms import zca
from resnetlab.data.transforms.augment import centre, normalise
from resnetlab.data.transforms.zca import Whitening


@dataclass(frozen=True)
class ByChannel:
    """Normalization by channel: (x - mean) / deviation."""

    values: tuple[list[float], list[float]]
    """Mean and deviation as Python numbers; they are rounded to fp32 only when they are applied."""
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, mean: list[float], deviation: list[float], device: torch.device) -> ByChannel:
        """Create from numbers, in units of x from 0 to 1."""
        return cls(
            (mean, deviation),
            torch.tensor(mean, device=device),
            torch.tensor(deviation, device=device),
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalize (B, H, W, C) uint8 to (B, C, H, W) fp32."""
        return normalise(pixels, self.mean, self.deviation)


@dataclass(frozen=True)
class ByImage:
    """Normalization of each image by its own mean and deviation over all its pixels and channels.

    The deviation has a lower bound: that of an image with a single value one step of 255 off. So a
    uniform image stays uniform, as in TensorFlow's `per_image_standardization`.
    """

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalize (B, H, W, C) uint8 to (B, C, H, W) fp32."""
        flat = pixels.flatten(1).float()
        lower_bound = flat.shape[1] ** -0.5
        deviation, mean = torch.std_mean(flat, 1, correction=0, keepdim=True)
        return (
            ((flat - mean) / deviation.clamp(min=lower_bound))
            .view(pixels.shape)
            .permute(0, 3, 1, 2)
        )


Scale = ByChannel | ByImage | Whitening


def fitted(how: Normalise, train: Images, crop: int, device: torch.device) -> Scale:
    """Return the normalization `how` on `device`, fitted to the train images if necessary.

    `crop` is the side of the network's input, 0 for whole images: whitening is fitted to center
    crops of that size.
    """
    channels = train.pixels.shape[3]
    match how:
        case "train":
            mean, deviation = channel_statistics(train)
            # The deviation 1.0 keeps a constant channel constant.
            return ByChannel.of(mean, [value or 1.0 for value in deviation], device)
        case "half":
            return ByChannel.of([0.5] * channels, [0.5] * channels, device)
        case "none":
            return ByChannel.of([0.0] * channels, [1.0] * channels, device)
        case Fixed():
            return ByChannel.of(list(how.mean), list(how.deviation), device)
        case "imagenet" | "practical":
            return fitted(PRESETS[how], train, crop, device)
        case "per-image":
            return ByImage()
        case "zca":
            return zca.fit(centre(torch.from_numpy(train.pixels), crop).numpy()).to(device)
        case _:
            assert_never(how)


def described(scale: Scale) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the metadata and tensors that a weights file needs to normalize pixels in the same
    way.
    """
    match scale:
        case ByChannel(values=(mean, deviation)):
            return {"mean": mean, "deviation": deviation}, {}
        case ByImage():
            return {"normalise": "per-image"}, {}
        case Whitening(mean=mean, matrix=matrix):
            return {"normalise": "zca"}, {"mean": mean, "matrix": matrix}
        case _:
            assert_never(scale)
