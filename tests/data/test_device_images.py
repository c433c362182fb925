"""Images on a device equal the source images, and are normalized by the right statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.data.config import LabeledImages
from resnetlab.data.device_images import DeviceImages
from resnetlab.data.transforms.normalization import channel_statistics


def images_of(
    shape: tuple[int, int, int, int], seed: int = 0, low: int = 0, high: int = 256
) -> LabeledImages:
    generator = np.random.default_rng(seed)
    return LabeledImages(
        generator.integers(low, high, shape, np.uint8), generator.integers(0, 3, shape[0])
    )


@given(
    shape=st.tuples(
        st.integers(1, 6), st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 3])
    ),
    seed=st.integers(0, 100),
    low=st.integers(0, 254),
)
def test_statistics_are_the_mean_and_deviation_of_all_pixels_of_a_channel(
    shape: tuple[int, int, int, int], seed: int, low: int
) -> None:
    images = images_of(shape, seed, low)
    mean, deviation = channel_statistics(images)
    x = images.pixels.astype(np.float64) / 255
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, x.std((0, 1, 2)), rtol=1e-9, atol=1e-12)


def test_statistics_do_not_depend_on_the_order_of_images() -> None:
    images = images_of((50, 8, 8, 3))
    turned = LabeledImages(images.pixels[::-1].copy(), images.labels[::-1].copy())
    assert channel_statistics(images) == channel_statistics(turned)


def test_a_constant_channel_has_deviation_zero() -> None:
    mean, deviation = channel_statistics(
        LabeledImages(np.full((3, 4, 4, 1), 51, np.uint8), np.zeros(3, np.int64))
    )
    assert mean == [pytest.approx(0.2, rel=1e-15)]
    assert deviation == [0.0]


def test_a_split_on_the_device_has_the_arrays_of_its_images() -> None:
    images = images_of((5, 4, 4, 3))
    device_images = DeviceImages.from_images(images, torch.device("cpu"))
    assert len(device_images) == len(images) == 5
    assert (device_images.pixels.dtype, device_images.labels.dtype) == (torch.uint8, torch.int64)
    assert np.array_equal(device_images.pixels.numpy(), images.pixels)
    assert np.array_equal(device_images.labels.numpy(), images.labels)
    assert device_images.pixels.data_ptr() == images.pixels.ctypes.data, (
        "shared, not copied, on the processor"
    )
