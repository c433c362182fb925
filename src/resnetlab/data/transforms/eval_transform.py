"""Evaluation transform: from a decoded image to the pixels of a network's input. Free of torch.

Training, evaluation, prediction and export all use this one definition.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resnetlab.data.sources import image_decoder
from resnetlab.schema import PositiveFloat, PositiveInt, strict_dataclass
from resnetlab.schema_errors import FieldError

RESIZE_CROP_RATIO = 256 / 224
"""Ratio of the resized shorter side to the crop in ImageNet evaluation: int(256/224 x size)."""

MAX_ASPECT_RATIO = 32
"""Longer to shorter side before a crop. Of a longer strip the middle is taken first: 4 x 5,000,000
pixels with the shorter side at 256 would be 80 billion."""

_KERNELS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@strict_dataclass
class EvalTransform:
    """Evaluation transform: resize, crop and normalization of an image."""

    crop_mode: Literal["crop", "whole", "square"] = "crop"
    """Mode. crop: resize the shorter side to `resize`, then take the center square of `size`.
    whole: resize the longer side to `size` without a crop, so that images differ in shape. square:
    resize the largest center square to `size` in one step, as for the images of a training run.
    """
    size: PositiveInt
    """Size in pixels."""
    resize: PositiveInt | None = None
    """Shorter side in pixels before the crop, for the mode crop only; None is int(256/224 x size).
    """
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Interpolation of the resizing, with antialiasing."""
    channels: Literal[1, 3] = 3
    """Number of channels: 1 for gray, 3 for RGB."""
    mean: tuple[float, ...]
    """Mean per channel, of pixels from 0 to 1."""
    std: tuple[PositiveFloat, ...]
    """Standard deviation per channel, of pixels from 0 to 1."""

    def __post_init__(self) -> None:
        if self.resize is not None and (self.crop_mode != "crop" or self.resize < self.size):
            raise FieldError(
                "resize",
                f"{self.resize} does not go with {self.crop_mode} of {self.size}",
                "leave it out",
            )
        for field, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise FieldError(
                    field,
                    f"{len(values)} values for {self.channels} channels",
                    "one value a channel",
                )

    @property
    def shorter_side(self) -> int:
        """Shorter side in pixels of a resized image before the crop."""
        return self.resize or int(RESIZE_CROP_RATIO * self.size)


def resize_image(image: Image.Image, transform: EvalTransform) -> Image.Image:
    """Return the image in the mode and at the scale of `transform`, before the crop.

    The other side is int(side x long / short), as in torchvision's Resize.
    """
    image = image.convert("L" if transform.channels == 1 else "RGB")
    if transform.crop_mode == "crop" and max(image.size) > MAX_ASPECT_RATIO * min(image.size):
        image = _crop_long_strip(image)
    width, height = image.size
    kernel = _KERNELS[transform.interpolation]
    match transform.crop_mode:
        case "square":
            return Image.fromarray(image_decoder.resize_center_square(image, transform.size))
        case "crop":
            side, reference = transform.shorter_side, min(width, height)
        case "whole":
            side, reference = transform.size, max(width, height)
    target = _scaled_edge(width, side, reference), _scaled_edge(height, side, reference)
    return image if target == image.size else image.resize(target, kernel)


def _crop_long_strip(image: Image.Image) -> Image.Image:
    """Return the middle of a narrow image, MAX_ASPECT_RATIO times as long as it is wide."""
    longest = MAX_ASPECT_RATIO * min(image.size)
    left, top = (max(0, (edge - longest) // 2) for edge in image.size)
    return image.crop(
        (left, top, min(image.width, left + longest), min(image.height, top + longest))
    )


def _scaled_edge(edge: int, side: int, reference: int) -> int:
    return side if edge == reference else max(1, int(side * edge / reference))


def center_crop(image: Image.Image, side: int) -> Image.Image:
    """Return the center square of `side` pixels, rounded as in torchvision's CenterCrop."""
    left, top = (int(round((edge - side) / 2.0)) for edge in image.size)  # noqa: RUF046
    return image.crop((left, top, left + side, top + side))


def apply_eval_transform(image: Image.Image, transform: EvalTransform) -> NDArray[np.uint8]:
    """Return the network's input (H, W, C) uint8 of a decoded image; square unless whole."""
    image_resized = resize_image(image, transform)
    return image_to_array(
        center_crop(image_resized, transform.size)
        if transform.crop_mode == "crop"
        else image_resized
    )


def ten_crops(image: Image.Image, transform: EvalTransform) -> NDArray[np.uint8]:
    """Return ten crops (10, S, S, C) uint8 of an image, in the order of torchvision's TenCrop.

    They are the four corners and the center of the resized image, and those of its mirror image.
    """
    image_resized = resize_image(image, transform)
    return np.stack(
        [
            *_five_crops(image_resized, transform.size),
            *_five_crops(ImageOps.mirror(image_resized), transform.size),
        ]
    )


def _five_crops(image: Image.Image, side: int) -> list[NDArray[np.uint8]]:
    right, bottom = image.width - side, image.height - side
    corners = ((0, 0), (right, 0), (0, bottom), (right, bottom))
    crops = [image.crop((left, top, left + side, top + side)) for left, top in corners]
    return [image_to_array(crop) for crop in (*crops, center_crop(image, side))]


def image_to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return (H, W, C) uint8 of an image in mode L or RGB."""
    array = np.array(image)  # a copy: Pillow's own buffer is read-only, and torch warns about that
    return array[..., np.newaxis] if array.ndim == 2 else array
