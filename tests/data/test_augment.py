"""Augmentation on whole batches gives what a plain loop over images gives."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.data.config import Augment, RandAugment
from resnetlab.data.transforms.augment import (
    center_crop,
    crop_and_hflip,
    cutout,
    mixup,
    normalize,
    train_batch,
    train_labels,
)
from resnetlab.data.transforms.epoch_draws import NUM_OPERATIONS, draw_epoch
from resnetlab.training.rng import make_generator

UNSCALED = partial(normalize, mean=torch.zeros(1), std=torch.ones(1))


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


@given(
    batch=st.integers(1, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    padding=st.integers(0, 5),
    seed=st.integers(0, 1000),
    crops=st.booleans(),
    flips=st.booleans(),
)
def test_crops_and_flips_equal_a_loop_over_images(
    batch: int,
    height: int,
    width: int,
    channels: int,
    padding: int,
    seed: int,
    crops: bool,
    flips: bool,
) -> None:
    generator = np.random.default_rng(seed)
    pixels = pixels_of(batch, height, width, channels, seed)
    corner, mirror = (
        generator.integers(0, 2 * padding + 1, (batch, 2)),
        generator.random(batch) < 0.5,
    )
    expected = []
    for image, (top, left), mirrored in zip(pixels, corner, mirror, strict=True):
        cut = naive_crop(image, top, left, padding) if crops else image
        expected.append(cut[:, ::-1] if flips and mirrored else cut)
    got = crop_and_hflip(
        torch.from_numpy(pixels),
        torch.from_numpy(corner) if crops else None,
        torch.from_numpy(mirror) if flips else None,
        padding if crops else 0,
    )
    assert got.dtype == torch.uint8
    assert np.array_equal(got.numpy(), np.stack(expected))


@given(
    batch=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    size=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_cutout_equals_a_loop_over_images_even_across_the_edge(
    batch: int, height: int, width: int, size: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    images = generator.random((batch, 2, height, width)).astype(np.float32) + 1
    hole = np.stack([generator.integers(0, height, batch), generator.integers(0, width, batch)], 1)
    expected = [
        naive_cutout(image, center[0], center[1], size)
        for image, center in zip(images, hole, strict=True)
    ]
    got = cutout(torch.from_numpy(images), torch.from_numpy(hole), size)
    assert np.array_equal(got.numpy(), np.stack(expected))


@pytest.mark.parametrize(("size", "zeros"), [(1, 1), (2, 4), (3, 9), (4, 16)])
def test_a_hole_far_from_the_edge_has_its_full_area(size: int, zeros: int) -> None:
    got = cutout(torch.ones(1, 3, 9, 9), torch.tensor([[4, 4]]), size)
    assert int((got[0, 0] == 0).sum()) == zeros


@pytest.mark.parametrize("channels", [1, 3])
def test_normalized_images_are_x_minus_mean_over_sd_in_fp32_and_channels_last(
    channels: int,
) -> None:
    pixels = pixels_of(4, 6, 5, channels)
    mean, deviation = [0.5, 0.4, 0.3][:channels], [0.2, 0.25, 0.3][:channels]
    got = normalize(torch.from_numpy(pixels), torch.tensor(mean), torch.tensor(deviation))
    expected = (pixels.astype(np.float64) / 255 - mean) / deviation
    assert got.dtype == torch.float32
    assert got.shape == (4, channels, 6, 5)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(got.numpy() - expected.transpose(0, 3, 1, 2)).max() < 2e-6


def test_normalized_images_equal_torchvision() -> None:
    from torchvision.transforms import v2

    pixels = torch.from_numpy(pixels_of(4, 6, 6, 3))
    mean, deviation = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
    usual = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, deviation)])
    got = normalize(pixels, torch.tensor(mean), torch.tensor(deviation))
    torch.testing.assert_close(got, usual(pixels.permute(0, 3, 1, 2)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "augment",
    [
        Augment(),
        Augment(flip=True),
        Augment(crop_padding=2),
        Augment(cutout=3),
        Augment(cutout=4, flip=True),
        Augment(crop_padding=3, flip=True, cutout=5),
        Augment(crop=4),
        Augment(crop=5, flip=True, cutout=2),
    ],
)
def test_a_batch_equals_its_images_augmented_one_by_one_with_their_own_draws(
    augment: Augment,
) -> None:
    pixels = pixels_of(17, 6, 6, 3)
    plan = draw_epoch(17, 6, augment, partial(make_generator, 3, "epoch", 0))
    mean, deviation = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])
    part = slice(5, 12)
    scale = partial(normalize, mean=torch.tensor(mean).float(), std=torch.tensor(deviation).float())
    got = train_batch(torch.from_numpy(pixels), plan, part, augment, scale)
    assert got.is_contiguous(memory_format=torch.channels_last)
    for index, image in zip(range(5, 12), got.numpy(), strict=True):
        one = pixels[plan.order[index]]
        if augment.crop_padding:
            top, left = plan.crop_offset[index].tolist()
            one = naive_crop(one, top, left, augment.crop_padding)
        if augment.crop:
            top, left = plan.crop_offset[index].tolist()
            one = one[top : top + augment.crop, left : left + augment.crop]
        if augment.flip and plan.hflip[index]:
            one = one[:, ::-1]
        expected = ((one / 255 - mean) / deviation).transpose(2, 0, 1)
        if augment.cutout:
            row, column = plan.cutout_center[index].tolist()
            expected = naive_cutout(expected, row, column, augment.cutout)
        np.testing.assert_allclose(image, expected, atol=3e-6)


def test_images_of_one_batch_get_different_draws() -> None:
    pixels = torch.from_numpy(pixels_of(1, 8, 8, 1)).expand(64, -1, -1, -1)
    augment = Augment(crop_padding=2, flip=True)
    plan = draw_epoch(64, 8, augment, partial(make_generator, 0, "epoch", 0))
    got = train_batch(pixels, plan, slice(0, 64), augment, UNSCALED)
    assert len({image.numpy().tobytes() for image in got.contiguous()}) > 30


def test_augmentation_does_not_write_to_the_split() -> None:
    pixels = torch.from_numpy(pixels_of(8, 6, 6, 1))
    before = pixels.clone()
    augment = Augment(crop_padding=2, flip=True, cutout=3, randaugment=RandAugment(), mixup=1.0)
    plan = draw_epoch(8, 6, augment, partial(make_generator, 0, "epoch", 0))
    train_batch(pixels, plan, slice(0, 8), augment, UNSCALED).add_(1)
    normalize(pixels, torch.zeros(1), torch.ones(1)).add_(1)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("draws", [(None, None)])
def test_the_pixels_without_crop_and_flip_are_the_same_tensor(draws: tuple[Any, Any]) -> None:
    pixels = torch.from_numpy(pixels_of(2, 4, 4, 1))
    assert crop_and_hflip(pixels, *draws, 0) is pixels


@pytest.mark.parametrize(("side", "size"), [(32, 28), (8, 8), (9, 4), (5, 1)])
def test_the_center_crop_equals_torchvision(side: int, size: int) -> None:
    from torchvision.transforms.v2 import functional

    pixels = torch.from_numpy(pixels_of(2, side, side, 3))
    if (side - size) % 2 == 0:  # torchvision rounds a half to the even number
        usual = functional.center_crop(pixels.permute(0, 3, 1, 2), [size, size]).permute(0, 2, 3, 1)
        assert torch.equal(center_crop(pixels, size), usual)
    assert center_crop(pixels, size).shape == (2, size, size, 3)
    assert center_crop(pixels, 0) is pixels


BLENDS = range(6, 10)
"""Brightness, saturation, contrast and sharpness, which round a weighted mean."""


@pytest.mark.parametrize("magnitude", [0, 4, 9, 15, 30])
@pytest.mark.parametrize("opposite", [False, True])
@pytest.mark.parametrize("kind", range(NUM_OPERATIONS))
def test_randaugment_operations_equal_torchvision_for_each_image(
    kind: int, opposite: bool, magnitude: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.transforms import v2

    from resnetlab.data.transforms.randaugment import rand_augment

    usual = v2.RandAugment(num_ops=1, magnitude=magnitude)
    names = list(usual._AUGMENTATION_SPACE)
    monkeypatch.setattr(usual, "_get_random_item", lambda space: (names[kind], space[names[kind]]))
    pixels = torch.from_numpy(pixels_of(3, 12, 12, 3))
    draws = torch.full((3, 1), kind), torch.full((3, 1), opposite)
    got = rand_augment(pixels, *draws, magnitude).permute(0, 3, 1, 2)
    monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(0.0 if opposite else 1.0))
    for ours, image in zip(got, pixels.permute(0, 3, 1, 2), strict=True):
        off = (ours.int() - usual(image).int()).abs()
        assert off.max() <= (1 if kind in BLENDS else 0)  # theirs has the magnitude in fp32


def test_randaugment_of_an_image_does_not_depend_on_the_rest_of_the_batch() -> None:
    from resnetlab.data.transforms.randaugment import rand_augment

    pixels = torch.from_numpy(pixels_of(40, 8, 8, 3))
    plan = draw_epoch(
        40,
        8,
        Augment(randaugment=RandAugment(operations=3)),
        partial(make_generator, 0, "epoch", 0),
    )
    together = rand_augment(pixels, plan.op, plan.op_flip, 12)
    for index in range(40):
        alone = pixels[index : index + 1]
        for kind, opposite in zip(plan.op[index], plan.op_flip[index], strict=True):
            alone = rand_augment(alone, kind.view(1, 1), opposite.view(1, 1), 12)
        assert torch.equal(together[index], alone[0]), index


def test_mixup_is_the_weighted_sum_of_an_image_and_its_partner_in_the_batch() -> None:
    pixels = torch.from_numpy(pixels_of(24, 6, 6, 1))
    labels = torch.arange(24) % 5
    augment = Augment(mixup=0.7)
    plan = draw_epoch(24, 6, augment, partial(make_generator, 0, "epoch", 0))
    part = slice(8, 16)
    plain = train_batch(pixels, plan, part, Augment(), UNSCALED)
    mixed = train_batch(pixels, plan, part, augment, UNSCALED)
    shares = train_labels(labels, plan, part, augment, 5)
    mates = sorted(range(8), key=lambda index: plan.mix_sort_keys[8 + index])
    assert sorted(mates) == list(range(8))
    for index, mate in enumerate(mates):
        share = float(plan.mix_lambda[8 + index])
        torch.testing.assert_close(mixed[index], share * plain[index] + (1 - share) * plain[mate])
        expected = torch.zeros(5)
        expected[labels[plan.order[8 + index]]] += share
        expected[labels[plan.order[8 + mate]]] += 1 - share
        torch.testing.assert_close(shares[index], expected)
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    assert torch.equal(train_labels(labels, plan, part, Augment(), 5), labels[plan.order[part]])


def test_mixup_with_a_share_of_one_is_the_image_itself() -> None:
    values = torch.randn(4, 3)
    assert torch.equal(mixup(values, torch.ones(4), torch.rand(4).double()), values)
