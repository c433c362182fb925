"""Photograph loader: threads decode and transform photographs one batch ahead of the network.

Training, evaluation and prediction load their photographs with it. Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Generic, Literal, TypeVar

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

_THREADS = ContextVar("threads", default=0)
"""Number of threads of a loader, 0 for the default; a thread and a task each have their own."""

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

Tta = Literal["none", "flip", "ten-crop"]
"""Test-time augmentation: average the probabilities over the mirror image or over ten crops."""


@dataclass(frozen=True)
class LazyImage:
    """Image with a name. `load` decodes it or raises BadImageError."""

    name: str
    """Path with escaped unprintable characters."""
    load: Callable[[], Image.Image]
    path: Path | None = None
    """File of the image; None for an image of an array."""


@dataclass(frozen=True)
class LoadedImage:
    """Image with its transformed pixels, or the reason why it cannot be decoded."""

    image: LazyImage
    pixels: NDArray[np.uint8] | None
    reason: str = ""


def image_from_file(path: Path, *, follow_links: bool = False) -> LazyImage:
    """Return the photograph in a file. A link is refused, unless `follow_links` is set."""
    load = partial(_load_file, path, follow_links)
    return LazyImage(escape_controls(str(path)), load, path)


def _load_file(path: Path, follow_links: bool) -> Image.Image:
    return image_decoder.decode(image_decoder.read_bytes(path, follow_links=follow_links))


@contextmanager
def loader_threads(count: int) -> Iterator[None]:
    """Set the number of threads of the loaders that are made within the `with` block.

    0 means one per core, up to 16. The number changes no pixel. Loaders that another thread makes
    are not affected.
    """
    token = _THREADS.set(count)
    try:
        yield
    finally:
        _THREADS.reset(token)


class Prefetcher(Generic[Item, Loaded]):
    """Threads that load items ahead of their use. Items and results are in the same order.

    Args:
        load: Function that a thread calls with an item.
        initializer: Function that each thread calls once, before its first item.
    """

    def __init__(
        self, load: Callable[[Item], Loaded], initializer: Callable[[], None] | None = None
    ) -> None:
        self._load = load
        self.pool = ThreadPoolExecutor(
            _THREADS.get() or min(default_workers(), MAX_THREADS), initializer=initializer
        )
        self._futures: dict[int, Future[Loaded]] = {}

    def submit(self, items: Iterable[tuple[int, Item]]) -> None:
        """Start to load items, given with their positions; skip positions that are loading."""
        for position, item in items:
            if position not in self._futures:
                self._futures[position] = self.pool.submit(self._load, item)

    def take(self, positions: Iterable[int]) -> list[Loaded]:
        """Wait for the results at these positions, remove them from memory, and return them."""
        return [self._futures.pop(position).result() for position in positions]

    def close(self) -> None:
        """Wait for the threads and end them. Items that no thread has begun are dropped."""
        self.pool.shutdown(cancel_futures=True)


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

    remaining = enumerate(images)
    with image_decoder.suppress_pillow_warnings(), closing(Prefetcher(load)) as prefetcher:

        def submit_batch() -> list[int]:
            batch = list(islice(remaining, batch_size))
            prefetcher.submit(batch)
            return [position for position, _ in batch]

        following = submit_batch()
        while following:
            current, following = following, submit_batch()
            yield prefetcher.take(current)


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
