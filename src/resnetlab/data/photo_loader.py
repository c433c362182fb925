"""Photograph loader: threads decode and transform photographs one batch ahead of the network.

Training reads its validation images with it, and evaluation and prediction read all images with it.
Does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.decode_cache import default_workers
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform, ten_crops
from resnetlab.errors import escape_controls

LOADER_BATCH_SIZE = 32
"""Default number of photographs in a batch."""

MAX_THREADS = 16

Tta = Literal["none", "flip", "ten-crop"]
"""Test-time augmentation: average the probabilities over the image and its mirror image, or over
ten crops.
"""


@dataclass(frozen=True)
class LazyImage:
    """Image with a name. `load` decodes it or raises BadImageError."""

    name: str
    """Path with escaped unprintable characters."""
    load: Callable[[], Image.Image]


@dataclass(frozen=True)
class LoadedImage:
    """Image with its transformed pixels, or the reason why it cannot be decoded."""

    image: LazyImage
    pixels: NDArray[np.uint8] | None
    reason: str = ""


def image_from_file(path: Path) -> LazyImage:
    """Return the photograph in a file."""
    return LazyImage(escape_controls(str(path)), partial(_load_file, path))


def _load_file(path: Path) -> Image.Image:
    return image_decoder.decode(image_decoder.read_bytes(path))


def load_batches(
    images: Iterable[LazyImage],
    transform: Callable[[Image.Image], NDArray[np.uint8]],
    batch_size: int = LOADER_BATCH_SIZE,
) -> Iterator[list[LoadedImage]]:
    """Yield batches of transformed images, in order.

    Threads load the next batch while the caller uses the present one. No image stays in memory
    after its batch.

    Args:
        images: Images to load. An error of `load` other than BadImageError is raised here.
        transform: Function from a decoded image to pixels, such as `apply_eval_transform`.
        batch_size: Number of images in a batch; the last batch may have fewer.
    """

    def load(image: LazyImage) -> LoadedImage:
        try:
            return LoadedImage(image, transform(image.load()))
        except image_decoder.BadImageError as error:
            return LoadedImage(image, None, str(error))

    remaining = iter(images)
    with (
        image_decoder.suppress_pillow_warnings(),
        ThreadPoolExecutor(min(default_workers(), MAX_THREADS)) as pool,
    ):

        def submit_batch() -> list[Future[LoadedImage]]:
            return [pool.submit(load, image) for image in islice(remaining, batch_size)]

        following = submit_batch()
        while following:
            current, following = following, submit_batch()
            yield [future.result() for future in current]


def augmented_views(image: Image.Image, transform: EvalTransform, tta: Tta) -> NDArray[np.uint8]:
    """Return the V views of a photograph for test-time augmentation, (V, H, W, C) uint8."""
    match tta:
        case "none":
            return apply_eval_transform(image, transform)[np.newaxis]
        case "flip":
            pixels = apply_eval_transform(image, transform)
            return np.stack([pixels, pixels[:, ::-1]])
        case "ten-crop":
            return ten_crops(image, transform)
