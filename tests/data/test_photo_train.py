"""Random crops, flips and colors are within their bounds and repeatable, and each kind has a random
stream of its own.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torchvision.transforms import RandomResizedCrop as TVCrop

from helpers.texture_photographs import texture
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.data.transforms.photo_train import (
    PhotoDraws,
    apply_train_transform,
    draw_photo_epoch,
    random_resized_crop_box,
    shifted_center_crop,
)
from resnetlab.training.rng import make_generator

TRANSFORM = EvalTransform(size=24, mean=(0.5,) * 3, std=(0.5,) * 3)


def draws(count: int = 50, seed: int = 0, epoch: int = 0) -> PhotoDraws:
    return draw_photo_epoch(count, partial(make_generator, seed, "epoch", epoch))


def transformed(
    image: Image.Image,
    augment: str,
    index: int = 0,
    epoch_draws: PhotoDraws | None = None,
    transform: EvalTransform = TRANSFORM,
) -> NDArray[np.uint8]:
    """Transform `image` as in training and return it, (S, S, C)."""
    result = apply_train_transform(
        np.array(image), transform, augment, epoch_draws or draws(), index
    )  # type: ignore[arg-type]
    return result.permute(1, 2, 0).numpy()


@given(st.integers(4, 900), st.integers(4, 900), st.integers(0, 10_000))
def test_a_random_box_is_inside_the_image_with_area_and_aspect_ratio_in_bounds(
    height: int, width: int, seed: int
) -> None:
    tries = draws(1, seed).crop[0].tolist()
    top, left, h, w = random_resized_crop_box(height, width, tries)
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w
    assert h > 0
    assert w > 0
    slack = 1.5 / min(h, w)  # sides are whole pixels
    assert 3 / 4 * (1 - slack) <= w / h <= 4 / 3 * (1 + slack)


def test_random_crops_have_the_distribution_of_torchvision() -> None:
    torch.manual_seed(0)
    square, scale, ratio = torch.empty(3, 1000, 1000), [0.08, 1.0], [3 / 4, 4 / 3]
    theirs = np.array([TVCrop.get_params(square, scale, ratio) for _ in range(8000)], dtype=float)
    ours = np.array(
        [
            random_resized_crop_box(1000, 1000, epoch_draws)
            for epoch_draws in draws(8000).crop.tolist()
        ],
        dtype=float,
    )
    for boxes in (ours, theirs):
        top, _, height, width = boxes.T.copy()
        boxes[:] = np.stack(
            [top / 1e3, top / (1001 - height), height * width / 1e6, np.log(width / height)], axis=1
        )
    error = np.hypot(ours.std(0), theirs.std(0)) / math.sqrt(8000)
    assert (abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all()
    assert ours.std(0) == pytest.approx(theirs.std(0), rel=0.05)


def test_a_shifted_crop_moves_only_along_the_longer_side() -> None:
    wide = Image.fromarray(np.broadcast_to(np.arange(40, dtype=np.uint8), (26, 40)).copy())
    for share, left in ((0.0, 0), (0.5, 8), (0.999, 16)):
        contents = np.asarray(shifted_center_crop(wide, 24, share))
        assert contents.shape == (24, 24)
        assert (contents[0, 0], contents[0, -1]) == (left, left + 23)
    tall = np.asarray(shifted_center_crop(wide.transpose(Image.Transpose.ROTATE_90), 24, 0.0))
    assert tall.shape == (24, 24)


def test_the_pixels_without_augmentation_are_equal_in_training_and_evaluation() -> None:
    image = texture("across", 1, 61, 47)
    np.testing.assert_array_equal(
        transformed(image, "none"), apply_eval_transform(image, TRANSFORM)
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_random_crop_equals_pillow_with_the_same_draws(channels: int) -> None:
    """Within the levels that rounding in between gives: a crop, a flip, and the changes of color
    in their order.
    """
    image, every = texture("down", 3, 610, 470), draws()
    half = (0.5,) * channels
    transform = EvalTransform(size=48, channels=channels, mean=half, std=half)  # type: ignore[arg-type]
    for index in range(20):
        top, left, height, width = random_resized_crop_box(470, 610, every.crop[index].tolist())
        box = (left, top, left + width, top + height)
        theirs = (
            image.crop(box)
            .resize((48, 48), Image.Resampling.BILINEAR)
            .convert("L" if channels == 1 else "RGB")
        )
        if every.hflip[index]:
            theirs = theirs.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        by = [0.7 + 0.6 * draw for draw in every.jitter[index].tolist()]
        for turn in every.jitter_order[index].tolist():
            if channels == 3 or turn < 2:  # gray has no saturation
                theirs = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[turn](
                    theirs
                ).enhance(by[turn])
        ours = transformed(image, "standard", index, transform=transform)
        assert ours.shape == (48, 48, channels)
        difference = abs(ours.astype(int) - np.asarray(theirs).reshape(48, 48, channels))
        assert difference.max() <= 5
        assert difference.mean() < 1.2


@pytest.mark.parametrize("augment", ["standard", "test-like"])
def test_the_same_index_of_the_same_epoch_always_has_the_same_crop(augment: str) -> None:
    image = texture("down", 2, 61, 47)
    torch.manual_seed(1)
    first = [transformed(image, augment, index) for index in range(5)]
    torch.manual_seed(2)
    again = [transformed(image, augment, index) for index in reversed(range(5))]
    for one, other in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({one.tobytes() for one in first}) == 5
    later = transformed(image, augment, epoch_draws=draws(epoch=1))
    assert (later != first[0]).any()


def test_the_colors_of_stage_two_change_by_at_most_a_twentieth() -> None:
    gray = Image.new("RGB", (48, 40), (100, 100, 100))
    contents = np.stack([transformed(gray, "test-like", index) for index in range(50)])
    assert contents.min() >= 94
    assert contents.max() <= 106
    assert np.ptp(contents) > 4
    wild = np.stack([transformed(gray, "standard", index) for index in range(50)])
    assert wild.min() < 85
    assert wild.max() > 115
    assert (wild.min(), wild.max()) >= (69, 0)
    assert wild.max() <= 131


def test_half_of_the_images_are_mirrored() -> None:
    assert abs(draws(4000).hflip.float().mean() - 0.5) < 0.03
    left = Image.fromarray(np.repeat(np.arange(40, dtype=np.uint8)[None], 26, 0)).convert("RGB")
    every = draws()
    for index in range(10):
        row = transformed(left, "test-like", index)[12, :, 0].astype(int)
        assert (row[0] > row[-1]) == bool(every.hflip[index])
