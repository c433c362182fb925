"""The photo loader keeps the order, names unreadable images, and loads one batch in advance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from helpers.pictures import picture
from resnetlab.data.photo_loader import LazyImage, load_batches
from resnetlab.data.sources.image_decoder import BadImageError
from resnetlab.errors import InputError, input_error


def broken() -> Image.Image:
    raise BadImageError("truncated JPEG")


def changed() -> Image.Image:
    raise input_error("a.jpg", "changed since it was first read", "restore it")


def test_images_are_yielded_in_order_and_an_unreadable_one_with_its_reason() -> None:
    images = [LazyImage(f"{seed}", lambda seed=seed: picture(seed)) for seed in range(7)]
    images[4] = LazyImage("4", broken)
    batches = list(load_batches(images, np.asarray, 3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    for seed, loaded in enumerate(loaded for batch in batches for loaded in batch):
        assert loaded.image.name == str(seed)
        if seed == 4:
            assert (loaded.pixels, loaded.reason) == (None, "truncated JPEG")
        else:
            np.testing.assert_array_equal(loaded.pixels, np.asarray(picture(seed)))


def test_only_the_next_batch_is_taken_from_the_source() -> None:
    """So that memory is bounded for any number of images."""
    taken = []

    def images() -> Iterator[LazyImage]:
        for number in range(100):
            taken.append(number)
            yield LazyImage(str(number), lambda: picture(0))

    batches = load_batches(images(), np.asarray, 4)
    for count in (8, 12, 16):
        next(batches)
        assert len(taken) == count


def test_an_error_other_than_a_bad_image_is_raised() -> None:
    with pytest.raises(InputError, match="changed since"):
        list(load_batches([LazyImage("a.jpg", changed)], np.asarray))
