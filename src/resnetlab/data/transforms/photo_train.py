"""Training transform of photographs: random crops, flips and colors from named random streams.

Every draw of an epoch is made in advance from its own stream, so that neither threads nor a resumed
run change a bit. torchvision's functions compute the pixels. For a random crop they work on tensors
of bytes, which is faster than on Pillow's images and gives nearly the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from resnetlab.data.transforms.eval_transform import (
    EvalTransform,
    apply_eval_transform,
    image_to_array,
    resize_image,
)
from resnetlab.data.transforms.photo_augment import (
    draw_erasing,
    draw_trivial,
    erase,
    trivial_augment,
)

Augmentation = Literal["none", "standard", "trivial", "test-like"]
"""Kind of augmentation. none: the evaluation transform. standard: RandomResizedCrop, flip,
ColorJitter(.3, .3, .3). trivial: RandomResizedCrop, flip, TrivialAugment. test-like: resize of the
shorter side as in evaluation, flip, ColorJitter(.05, .05, .05), and the center crop shifted along
the longer side at random (Touvron et al. 2019, sec. 4 and 5).
"""

CROP_AREA_RANGE = (0.08, 1.0)  # Szegedy et al. 2015, sec. 6
ASPECT_RATIO_RANGE = (3 / 4, 4 / 3)  # Szegedy et al. 2015, sec. 6
MAX_CROP_TRIES = 10  # torchvision's RandomResizedCrop
JPEG_DRAFT_FACTORS = (1, 2, 4, 8)  # libjpeg's
TYPICAL_CROP_AREA = 0.15  # as a fraction of the photograph; 92 % of the crops have more
JITTER_STRENGTH = {"standard": 0.3, "test-like": 0.05}


@dataclass(frozen=True)
class PhotoDraws:
    """Random draws of one epoch; the fp64 ones lie between 0 and 1."""

    order: Tensor
    """Indices (N,) int64 of the images in the order of use."""
    rows: Tensor
    """Rows (N,) int64 of the other draws in the order of use."""
    crop: Tensor
    """Fraction of the area, aspect ratio, top and left of each try (N, MAX_CROP_TRIES, 4)."""
    shift: Tensor
    """Shift along the longer side (N,)."""
    hflip: Tensor
    """Horizontal flips (N,) bool."""
    jitter: Tensor
    """Brightness, contrast and saturation (N, 3)."""
    jitter_order: Tensor
    """Order (N, 3) int64 of these three changes."""
    trivial: Tensor
    """Operation, magnitude and sign of TrivialAugment (N, 3) int64."""
    erase: Tensor
    """Top, left, height and width (N, 4) int64 of the erased rectangle; 0 for none."""


def draw_photo_epoch(
    num_images: int,
    generator_for: Callable[[str], torch.Generator],
    image_weights: Tensor | None = None,
    erasing: tuple[float, int] = (0.0, 0),
) -> PhotoDraws:
    """Draw the random numbers of an epoch.

    Args:
        num_images: Number of images and of draws, N.
        generator_for: Function that returns the generator of a kind of draw.
        image_weights: Relative probability of each image (N,) in draws with replacement. None:
            each image once, in a random order.
        erasing: Probability that a rectangle is erased, and the side of the images in pixels.
    """
    if image_weights is None:
        order = torch.randperm(num_images, generator=generator_for("order"))
        rows = order  # row i belongs to image i
    else:
        generator = generator_for("sampler")
        order = torch.multinomial(image_weights, num_images, replacement=True, generator=generator)
        rows = torch.arange(num_images)  # an image that is drawn twice has two crops
    return PhotoDraws(
        order=order,
        rows=rows,
        crop=torch.rand(
            (num_images, MAX_CROP_TRIES, 4), generator=generator_for("crop"), dtype=torch.float64
        ),
        shift=torch.rand(num_images, generator=generator_for("shift"), dtype=torch.float64),
        hflip=torch.rand(num_images, generator=generator_for("flip")) < 0.5,
        jitter=torch.rand((num_images, 3), generator=generator_for("jitter"), dtype=torch.float64),
        jitter_order=torch.rand((num_images, 3), generator=generator_for("turns")).argsort(1),
        trivial=draw_trivial(num_images, generator_for("trivial")),
        erase=draw_erasing(num_images, *erasing, generator_for("erasing").initial_seed()),
    )


def jpeg_draft_factor(
    transform: EvalTransform,
    augmentation: Augmentation,
    draws: PhotoDraws,
    row: int,
    width: int,
    height: int,
) -> int:
    """Return the reduction (1, 2, 4 or 8) at which a photograph may be decoded for this crop.

    `width` and `height` are those of the photograph. Large crops get the reduction of usual ones:
    the work is nearly the same, and pixels decoded for one epoch serve the next.
    """
    match augmentation:
        case "none":
            return 1
        case "standard" | "trivial":
            *_, h, w = random_resized_crop_box(height, width, draws.crop[row].tolist())
            scale = min(h, w, math.sqrt(TYPICAL_CROP_AREA * width * height)) / transform.size
        case "test-like":
            scale = min(width, height) / transform.shorter_side
        case _:
            assert_never(augmentation)
    return max((factor for factor in JPEG_DRAFT_FACTORS if factor <= scale), default=1)


def apply_train_transform(
    photo: NDArray[np.uint8],
    transform: EvalTransform,
    augmentation: Augmentation,
    draws: PhotoDraws,
    row: int,
    original_size: tuple[int, int] | None = None,
) -> Tensor:
    """Return an augmented photograph as (C, S, S) uint8, where S is the size of `transform`.

    Args:
        photo: Photograph (H, W, 3); it may have been decoded at a reduced size.
        transform: Evaluation transform that the network was made for.
        augmentation: Augmentation of the stage.
        draws: Random draws of the epoch.
        row: Row of the photograph in `draws`.
        original_size: Width and height in pixels before a reduced decoding.
    """
    match augmentation:
        case "none":
            return _to_chw(apply_eval_transform(Image.fromarray(photo), transform))
        case "standard" | "trivial":
            image = _random_crop(
                photo,
                transform,
                draws.crop[row].tolist(),
                original_size or (photo.shape[1], photo.shape[0]),
            )
        case "test-like":
            crop = shifted_center_crop(
                resize_image(Image.fromarray(photo), transform),
                transform.size,
                float(draws.shift[row]),
            )
            image = _to_chw(image_to_array(crop))
        case _:
            assert_never(augmentation)
    if draws.hflip[row]:
        image = TF.horizontal_flip(image)
    if augmentation == "trivial":
        image = trivial_augment(image, draws.trivial[row])
    else:
        image = _jitter_colors(
            image,
            JITTER_STRENGTH[augmentation],
            draws.jitter[row].tolist(),
            draws.jitter_order[row].tolist(),
        )
    return erase(image, draws.erase[row], transform.mean)


def _random_crop(
    photo: NDArray[np.uint8],
    transform: EvalTransform,
    tries: list[list[float]],
    original_size: tuple[int, int],
) -> Tensor:
    """Return a random crop (C, S, S) of (H, W, 3), a reduced decoding of `original_size`."""
    top, left, height, width = random_resized_crop_box(original_size[1], original_size[0], tries)
    y, x = photo.shape[0] / original_size[1], photo.shape[1] / original_size[0]
    rows = slice(round(top * y), max(round(top * y) + 1, round((top + height) * y)))
    columns = slice(round(left * x), max(round(left * x) + 1, round((left + width) * x)))
    crop: Tensor = TF.resize(
        _to_chw(photo[rows, columns]), [transform.size, transform.size], antialias=True
    )
    return crop if transform.channels == 3 else TF.rgb_to_grayscale(crop)


def _to_chw(array: NDArray[np.uint8]) -> Tensor:
    """Return a view (C, H, W) of (H, W, C)."""
    return torch.from_numpy(array).permute(2, 0, 1)


def random_resized_crop_box(
    height: int, width: int, tries: list[list[float]]
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a random crop (Szegedy et al. 2015, sec. 6).

    Each try has a fraction of the area, an aspect ratio (uniform in its logarithm) and a position.
    The first try that fits is used, else the largest center crop with a permitted ratio.
    """
    low, high = (math.log(bound) for bound in ASPECT_RATIO_RANGE)
    for area, ratio, top, left in tries:
        target = (
            height * width * (CROP_AREA_RANGE[0] + area * (CROP_AREA_RANGE[1] - CROP_AREA_RANGE[0]))
        )
        shape = math.exp(low + ratio * (high - low))
        w, h = round(math.sqrt(target * shape)), round(math.sqrt(target / shape))
        if 0 < w <= width and 0 < h <= height:
            return int(top * (height - h + 1)), int(left * (width - w + 1)), h, w
    w = min(width, round(height * ASPECT_RATIO_RANGE[1]))
    h = min(height, round(width / ASPECT_RATIO_RANGE[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def shifted_center_crop(image: Image.Image, side: int, position: float) -> Image.Image:
    """Return a square of `side` pixels at `position` (0 to 1) along the longer side."""
    margin_x, margin_y = image.width - side, image.height - side
    along_x = margin_x >= margin_y
    left = int(position * (margin_x + 1)) if along_x else margin_x // 2
    top = margin_y // 2 if along_x else int(position * (margin_y + 1))
    return image.crop((left, top, left + side, top + side))


def _jitter_colors(image: Tensor, strength: float, draws: list[float], order: list[int]) -> Tensor:
    """Multiply brightness, contrast and saturation by 1 +- strength, in the order of `order`."""
    adjustments = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation)
    for kind in order:
        image = adjustments[kind](image, 1 + strength * (2 * draws[kind] - 1))
    return image
