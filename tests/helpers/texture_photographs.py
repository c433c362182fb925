"""Photographs of three kinds of texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("across", "down", "plain")

QUICK = str(Path(__file__).with_name("quick.toml"))
"""Recipe that takes a second."""


def texture(kind: str, seed: int, width: int = 40, height: int = 32) -> Image.Image:
    """Draw horizontal stripes, vertical stripes or none, in random colors with noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    wave = {"across": np.sin(y / 2), "down": np.sin(x / 2), "plain": np.zeros((height, width))}[
        kind
    ]
    color = generator.uniform(0.5, 1, 3)
    shade = 128 + 70 * wave[..., None] * color + generator.normal(0, 12, (height, width, 3))
    return Image.fromarray(shade.clip(0, 255).astype(np.uint8))


def folder(root: Path, counts: dict[str, int], **size: int) -> Path:
    """Write `counts` photographs of each kind to each split, or without a split folder for ''."""
    for split, count in counts.items():
        for kind in KINDS:
            target = root / split / kind
            target.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                seed = len(split) * 1000 + KINDS.index(kind) * 100 + number
                texture(kind, seed, **size).save(target / f"{number:02}.png")
    return root
