"""Synthetic photographs, made of smooth random fields and grain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image


def scenes(width: int, height: int) -> Iterator[Image.Image]:
    """Colors that vary at every scale, less the finer, as in natural scenes (Field 1987)."""
    generator = np.random.default_rng(0)
    while True:
        pixels = np.full((height, width, 3), 128, np.float32)
        for cells in (3, 6, 12, 24, 48, 96, 192, 384):
            coarse = generator.normal(
                0, 90 / cells**0.6, (max(2, cells * height // width), cells, 3)
            ).astype(np.float32)
            for channel in range(3):
                layer = Image.fromarray(coarse[..., channel]).resize(
                    (width, height), Image.Resampling.BICUBIC
                )
                pixels[..., channel] += np.asarray(layer)
        pixels += generator.normal(0, 3, (height, width, 1)).astype(np.float32)
        yield Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
