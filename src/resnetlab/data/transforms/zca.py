"""ZCA whitening: fitted to the train images, with the same bits each time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EPSILON = 0.1
"""Constant added to the eigenvalues of the covariance of pixels from 0 to 1 (Pal and Sudeep 2016).
"""

BLOCK_IMAGES = 1_000
"""Number of images whose products are summed at once: 25 MB for CIFAR."""


@dataclass(frozen=True)
class ZCAWhitening:
    """ZCA whitening (x - `mean`) `matrix`: (D,), (D, D), fp32, x from 0 to 1, D = H W C."""

    mean: Tensor
    matrix: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """Whiten (B, H, W, C) uint8 to (B, C, H, W) fp32, channels-last in memory."""
        flat = pixels.flatten(1).float() / 255 - self.mean
        return (flat @ self.matrix).view(pixels.shape).permute(0, 3, 1, 2)

    def to(self, device: torch.device) -> ZCAWhitening:
        """Return the same whitening on a device."""
        return ZCAWhitening(self.mean.to(device), self.matrix.to(device))


def mean_and_covariance(pixels: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Return mean (D,) and covariance (D, D) of images (N, H, W, C), pixels 0 to 1, in fp64.

    Sums of products of whole numbers stay below 2^53 for 10^11 images, so they are exact in any
    order.
    """
    flat = torch.from_numpy(pixels.reshape(len(pixels), -1))
    products = torch.zeros(flat.shape[1], flat.shape[1], dtype=torch.float64)
    for start in range(0, len(flat), BLOCK_IMAGES):
        block = flat[start : start + BLOCK_IMAGES].double()
        products.addmm_(block.T, block)
    mean = flat.sum(0, dtype=torch.int64).double() / len(flat)
    return mean / 255, (products / len(flat) - mean.outer(mean)) / 255**2


def fit(pixels: NDArray[np.uint8]) -> ZCAWhitening:
    """Fit the whitening U (S + epsilon)^(-1/2) U^T of images with covariance U S U^T, in fp64.

    It takes a minute for 50,000 images of CIFAR on one core. The last result is cached, so each
    process computes it once.
    """
    key = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest() + str(pixels.shape)
    if key not in _cache:
        mean, covariance = mean_and_covariance(pixels)
        values, vectors = torch.linalg.eigh(covariance)
        matrix = (vectors / (values.clamp(min=0) + EPSILON).sqrt()) @ vectors.T
        _cache.clear()
        _cache[key] = ZCAWhitening(mean.float(), matrix.float())
    return _cache[key]


_cache: dict[str, ZCAWhitening] = {}
