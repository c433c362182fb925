"""Augmentation on whole batches gives what a plain loop over images gives."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetlab.data.augment import crop_and_flip, cut_out, normalise, train_batch
from resnetlab.data.plan import plan_epoch
from resnetlab.data.spec import Augment
from resnetlab.training.random import stream


def naive_crop(image: np.ndarray, top: int, left: int, padding: int) -> np.ndarray:
    height, width, channels = image.shape
    black = np.zeros((height + 2 * padding, width + 2 * padding, channels), image.dtype)
    black[padding : padding + height, padding : padding + width] = image
    return black[top : top + height, left : left + width]


def naive_cutout(image: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    image = image.copy()
    for y in range(row - size // 2, row - size // 2 + size):
        for x in range(column - size // 2, column - size // 2 + size):
            if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                image[:, y, x] = 0
    return image


def pixels_of(batch: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (batch, height, width, channels), np.uint8)


@settings(deadline=None, max_examples=80)
@given(
    batch=st.integers(1, 5), height=st.integers(1, 9), width=st.integers(1, 9), channels=st.sampled_from([1, 3]),
    padding=st.integers(0, 5), seed=st.integers(0, 1000), crops=st.booleans(), flips=st.booleans(),
)  # fmt: skip
def test_crops_and_flips_are_those_of_a_loop_over_images(
    batch: int, height: int, width: int, channels: int, padding: int, seed: int, crops: bool, flips: bool
) -> None:
    draw = np.random.default_rng(seed)
    pixels = pixels_of(batch, height, width, channels, seed)
    corner, mirror = draw.integers(0, 2 * padding + 1, (batch, 2)), draw.random(batch) < 0.5
    expected = []
    for image, (top, left), mirrored in zip(pixels, corner, mirror, strict=True):
        cut = naive_crop(image, top, left, padding) if crops else image
        expected.append(cut[:, ::-1] if flips and mirrored else cut)
    got = crop_and_flip(
        torch.from_numpy(pixels), torch.from_numpy(corner) if crops else None,
        torch.from_numpy(mirror) if flips else None, padding if crops else 0,
    )  # fmt: skip
    assert got.dtype == torch.uint8
    assert np.array_equal(got.numpy(), np.stack(expected))


@settings(deadline=None, max_examples=80)
@given(
    batch=st.integers(1, 4), height=st.integers(1, 9), width=st.integers(1, 9), size=st.integers(1, 12),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_cutout_is_that_of_a_loop_over_images_even_where_it_overhangs(
    batch: int, height: int, width: int, size: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    images = draw.random((batch, 2, height, width)).astype(np.float32) + 1
    hole = np.stack([draw.integers(0, height, batch), draw.integers(0, width, batch)], 1)
    expected = [naive_cutout(image, *centre, size) for image, centre in zip(images, hole, strict=True)]
    got = cut_out(torch.from_numpy(images), torch.from_numpy(hole), size)
    assert np.array_equal(got.numpy(), np.stack(expected))


@pytest.mark.parametrize(("size", "zeros"), [(1, 1), (2, 4), (3, 9), (4, 16)])
def test_a_hole_away_from_the_edge_has_its_whole_area(size: int, zeros: int) -> None:
    got = cut_out(torch.ones(1, 3, 9, 9), torch.tensor([[4, 4]]), size)
    assert int((got[0, 0] == 0).sum()) == zeros


@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_images_are_x_less_mean_by_sd_in_fp32_and_channels_last(channels: int) -> None:
    pixels = pixels_of(4, 6, 5, channels)
    mean, deviation = [0.5, 0.4, 0.3][:channels], [0.2, 0.25, 0.3][:channels]
    got = normalise(torch.from_numpy(pixels), torch.tensor(mean), torch.tensor(deviation))
    expected = (pixels.astype(np.float64) / 255 - mean) / deviation
    assert got.dtype == torch.float32
    assert got.shape == (4, channels, 6, 5)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(got.numpy() - expected.transpose(0, 3, 1, 2)).max() < 2e-6


def test_normalised_images_are_those_of_torchvision() -> None:
    from torchvision.transforms import v2

    pixels = torch.from_numpy(pixels_of(4, 6, 6, 3))
    mean, deviation = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
    usual = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, deviation)])
    got = normalise(pixels, torch.tensor(mean), torch.tensor(deviation))
    torch.testing.assert_close(got, usual(pixels.permute(0, 3, 1, 2)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "augment",
    [
        Augment(), Augment(flip=True), Augment(crop_padding=2), Augment(cutout=3), Augment(cutout=4, flip=True),
        Augment(crop_padding=3, flip=True, cutout=5),
    ],
)  # fmt: skip
def test_a_batch_is_its_images_one_by_one_each_with_its_own_draws(augment: Augment) -> None:
    pixels = pixels_of(17, 6, 6, 3)
    plan = plan_epoch(17, 6, augment.crop_padding, partial(stream, 3, "epoch", 0))
    mean, deviation = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])
    part = slice(5, 12)
    got = train_batch(
        torch.from_numpy(pixels), plan, part, augment, torch.tensor(mean).float(), torch.tensor(deviation).float()
    )
    assert got.is_contiguous(memory_format=torch.channels_last)
    for place, image in zip(range(5, 12), got.numpy(), strict=True):
        one = pixels[plan.order[place]]
        if augment.crop_padding:
            one = naive_crop(one, *plan.corner[place].tolist(), augment.crop_padding)
        if augment.flip and plan.mirror[place]:
            one = one[:, ::-1]
        expected = ((one / 255 - mean) / deviation).transpose(2, 0, 1)
        if augment.cutout:
            expected = naive_cutout(expected, *plan.hole[place].tolist(), augment.cutout)
        np.testing.assert_allclose(image, expected, atol=3e-6)


def test_images_of_one_batch_are_drawn_apart() -> None:
    pixels = torch.from_numpy(pixels_of(1, 8, 8, 1)).expand(64, -1, -1, -1)
    plan = plan_epoch(64, 8, 2, partial(stream, 0, "epoch", 0))
    augment = Augment(crop_padding=2, flip=True)
    got = train_batch(pixels, plan, slice(0, 64), augment, torch.zeros(1), torch.ones(1))
    assert len({image.numpy().tobytes() for image in got.contiguous()}) > 30


def test_the_split_itself_is_not_written_to() -> None:
    pixels = torch.from_numpy(pixels_of(8, 6, 6, 1))
    before = pixels.clone()
    plan = plan_epoch(8, 6, 2, partial(stream, 0, "epoch", 0))
    augment = Augment(crop_padding=2, flip=True, cutout=3)
    train_batch(pixels, plan, slice(0, 8), augment, torch.zeros(1), torch.ones(1)).add_(1)
    normalise(pixels, torch.zeros(1), torch.ones(1)).add_(1)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("draws", [(None, None)])
def test_without_crop_and_flip_the_pixels_are_the_same_tensor(draws: tuple[Any, Any]) -> None:
    pixels = torch.from_numpy(pixels_of(2, 4, 4, 1))
    assert crop_and_flip(pixels, *draws, 0) is pixels
