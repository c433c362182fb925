"""The network gets the pixels that torchvision gives, or that were computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from helpers.pictures import picture
from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.eval_transform import (
    EvalTransform,
    apply_eval_transform,
    resize_image,
)
from resnetlab.schema_errors import FieldError

HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


@given(
    st.integers(8, 90), st.integers(8, 90), st.integers(5, 40), st.integers(0, 20), st.booleans()
)
def test_a_crop_equals_resize_and_center_crop_of_torchvision(
    width: int, height: int, size: int, more: int, bicubic: bool
) -> None:
    kind = "bicubic" if bicubic else "bilinear"
    transform = EvalTransform(size=size, resize=size + more, interpolation=kind, **HALF)
    image = picture(1, width, height)
    mode = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
    theirs = Compose([Resize(size + more, interpolation=mode), CenterCrop(size)])(image)
    assert np.array_equal(apply_eval_transform(image, transform), np.asarray(theirs))


@pytest.mark.parametrize(("size", "shorter"), [(224, 256), (288, 329), (128, 146), (161, 184)])
def test_the_shorter_side_is_256_224ths_of_the_crop_rounded_down(size: int, shorter: int) -> None:
    transform = EvalTransform(size=size, **HALF)
    assert transform.shorter_side == shorter
    assert min(resize_image(picture(0, 501, 375), transform).size) == shorter


def test_a_whole_image_is_resized_with_its_aspect_ratio_and_not_cropped() -> None:
    transform = EvalTransform(crop_mode="whole", size=64, **HALF)
    assert apply_eval_transform(picture(0, 501, 375), transform).shape == (
        47,
        64,
        3,
    )  # 64 x 375 / 501 = 47.9
    assert apply_eval_transform(picture(0, 375, 501), transform).shape == (64, 47, 3)
    assert apply_eval_transform(picture(0, 1000, 5), transform).shape == (1, 64, 3)


@pytest.mark.parametrize("upright", [False, True])
def test_an_extremely_long_image_is_reduced_to_its_center(upright: bool) -> None:
    strip = np.zeros((4, 2_000_000), np.uint8)
    strip[:, 999_980:1_000_020] = 255
    image = Image.fromarray(
        strip.T if upright else strip
    )  # at 32 pixels it would be 16,000,000 long
    result = apply_eval_transform(
        image, EvalTransform(size=28, resize=32, channels=1, mean=(0.5,), std=(0.5,))
    )
    assert result.shape == (28, 28, 1)
    assert result.min() == 255


def test_a_square_has_the_same_pixels_as_in_training() -> None:
    image = picture(3, 57, 41)
    assert np.array_equal(
        apply_eval_transform(image, EvalTransform(crop_mode="square", size=16, **HALF)),
        image_decoder.resize_center_square(image, 16),
    )


def test_gray_and_color_images_are_converted_to_the_channels_of_the_network() -> None:
    gray = EvalTransform(size=16, channels=1, mean=(0.5,), std=(0.5,))
    assert apply_eval_transform(picture(0, 30, 20), gray).shape == (16, 16, 1)
    assert apply_eval_transform(picture(0, 30, 20, "L"), EvalTransform(size=16, **HALF)).shape == (
        16,
        16,
        3,
    )


def test_a_contradictory_transform_is_refused() -> None:
    with pytest.raises(FieldError, match="resize"):
        EvalTransform(size=64, resize=32, **HALF)
    with pytest.raises(FieldError, match="resize"):
        EvalTransform(crop_mode="square", size=64, resize=70, **HALF)
    with pytest.raises(FieldError, match="mean"):
        EvalTransform(size=64, channels=1, **HALF)
