"""Images that stay uint8 on the device for the whole run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resnetlab.data.config import LabeledImages


@dataclass(frozen=True)
class DeviceImages:
    """Split of a data set on a device.

    Fine-tuning on a frozen network has the features of the images in place of their pixels.
    """

    pixels: Tensor
    """Pixels (N, H, W, C) uint8, or features (N, F) or (N, C, H, W) of another type."""
    labels: Tensor
    """Labels (N,) int64."""

    @property
    def are_features(self) -> bool:
        """True if `pixels` has features of a frozen network."""
        return self.pixels.dtype != torch.uint8

    @classmethod
    def from_images(cls, images: LabeledImages, device: torch.device) -> DeviceImages:
        """Copy a split to `device`; on the CPU the arrays are shared, not copied."""
        return cls(
            torch.from_numpy(images.pixels).to(device), torch.from_numpy(images.labels).to(device)
        )

    def __len__(self) -> int:
        return len(self.labels)


class DeviceImageCache:
    """Cache of splits on a device: one copy of each, for any number of runs."""

    def __init__(self) -> None:
        self._copies: dict[tuple[int, torch.device], tuple[LabeledImages, DeviceImages]] = {}

    def get(self, images: LabeledImages, device: torch.device) -> DeviceImages:
        """Return the copy of that split on `device`."""
        key = id(images), device
        if key not in self._copies:
            # The split is stored too, so that no other object gets its id.
            self._copies[key] = images, DeviceImages.from_images(images, device)
        return self._copies[key][1]
