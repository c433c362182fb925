"""Small generated photographs and folders of them, so that no test needs real images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnetlab.data.config import Source
from resnetlab.data.sources import open_source
from resnetlab.errors import InputError


def picture(seed: int, width: int = 24, height: int = 16, mode: str = "RGB") -> Image.Image:
    """Return a smooth gradient with a color of its own, which survives JPEG and resizing
    recognizably.
    """
    generator = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, width)[None, :, None] * np.linspace(0.2, 1, height)[:, None, None]
    color = generator.integers(60, 255, 3)
    pixels = ramp * color + generator.integers(0, 3, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def save(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def tree(
    root: Path, counts: dict[str, int], *, size: tuple[int, int] = (24, 16), mode: str = "RGB"
) -> Path:
    """Write `counts[folder]` pictures, each unlike the others, into each folder below `root`."""
    seed = 0
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            save(root / folder / f"{number:03}.png", picture(seed, *size, mode=mode))
            seed += 1
    return root


def split_tree(root: Path, **options: object) -> Path:
    """Cats and dogs: four of each in train, two in test."""
    return tree(root, {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2}, **options)


def class_tree(root: Path, **options: object) -> Path:
    """Ten cats and ten dogs, in no split."""
    return tree(root, {"cat": 10, "dog": 10}, **options)


def opened(root: Path, **options: object) -> Source:
    """Return the source in a folder, with its cache beside it."""
    cache = options.pop("cache", root.parent / "cache")
    return open_source(str(root), cache=cache, **options)


def lines_of(error: BaseException) -> list[str]:
    return str(error).splitlines()


def refused(root: Path, **options: object) -> list[str]:
    """Return the lines of the error with which the source in a folder is refused."""
    with pytest.raises(InputError) as caught:
        opened(root, **options)
    return lines_of(caught.value)
