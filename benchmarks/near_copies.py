"""Measure how well near copies are found: how many made copies, and how many pairs of photographs
that are no copies.

    PYTHONPATH=src .venv/bin/python benchmarks/near_copies.py FOLDER

FOLDER has photographs without copies of each other. Every sixth gets a copy of each kind.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from resnetlab.data.near_copies import find_near_copies
from resnetlab.data.sources.image_decoder import BadImageError, decode, resize_center_square

SIDE, EVERY = 64, 6


def compress(image: Image.Image, quality: int) -> Image.Image:
    """Return the image after JPEG compression."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def crop_rim(image: Image.Image, share: float) -> Image.Image:
    """Return the image without a rim of `share` of its sides."""
    width, height = image.size
    left, top = round(share * width), round(share * height)
    return image.crop((left, top, width - left, height - top))


KINDS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "compressed, quality 30": lambda image: compress(image, 30),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "40 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
    "mirrored": ImageOps.mirror,
    "mirrored, small, compressed": lambda image: compress(
        ImageOps.mirror(image).resize((image.width // 2, image.height // 2)), 50
    ),
    "gray": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "without a rim of 2 %": lambda image: crop_rim(image, 0.02),
}


def main() -> None:
    """Print the counts for the folder of the command line."""
    images = []
    for path in sorted(Path(sys.argv[1]).rglob("*")):
        if path.is_file():
            try:
                images.append(decode(path.read_bytes()).convert("RGB"))
            except BadImageError:
                print(f"left out: {path}")
    originals = np.stack([resize_center_square(image, SIDE) for image in images])
    print(f"{len(images):,} photographs: {len(find_near_copies(originals))} pairs are near copies")
    chosen = range(0, len(images), EVERY)
    for kind, change in KINDS.items():
        copies = np.stack([resize_center_square(change(images[index]), SIDE) for index in chosen])
        pairs = find_near_copies(np.concatenate([originals, copies]))
        made = {(index, len(images) + number) for number, index in enumerate(chosen)}
        found = {(pair.left, pair.right) for pair in pairs}
        print(f"{kind}: {len(found & made)} of {len(made)} found, {len(found - made)} others")


if __name__ == "__main__":
    main()
