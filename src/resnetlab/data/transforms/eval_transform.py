"""From a decoded photograph to the pixels that a network is shown: one definition for all that look. Free of torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resnetlab.data.sources import image_decoder
from resnetlab.schema import FieldError, Positive, PositiveAmount, spec

CROP_RATIO = 256 / 224
"""Shorter side to crop, as ImageNet is evaluated: int(256/224 x size)."""

MAX_RATIO = 32
"""Longer to shorter side before a crop. Of a longer strip the middle is taken first: 4 x 5,000,000 pixels with the
shorter side at 256 would be 80 billion."""

_KERNELS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@spec
class View:
    """What a network is shown of a photograph, and how its pixels are scaled."""

    rule: Literal["crop", "whole", "square"] = "crop"
    """crop: the shorter side to `resize`, then the centre square of `size`. whole: the longer side to `size`, nothing
    cut off, so that images differ in shape. square: the largest centre square, resized to `size` in one step, as the
    images of a run are."""
    size: Positive
    """Pixels."""
    resize: Positive | None = None
    """Of crop alone; None is int(256/224 x size)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...]
    """A channel, of pixels from 0 to 1."""
    deviation: tuple[PositiveAmount, ...]

    def __post_init__(self) -> None:
        if self.resize is not None and (self.rule != "crop" or self.resize < self.size):
            raise FieldError("resize", f"{self.resize} does not go with {self.rule} of {self.size}", "leave it out")
        for field, values in (("mean", self.mean), ("deviation", self.deviation)):
            if len(values) != self.channels:
                raise FieldError(field, f"{len(values)} values for {self.channels} channels", "one value a channel")

    @property
    def shorter_side(self) -> int:
        """Of a resized photograph before the crop, in pixels."""
        return self.resize or int(CROP_RATIO * self.size)


def resized(image: Image.Image, view: View) -> Image.Image:
    """The photograph in the mode and at the scale of `view`, before anything is cut off by crop.

    The other side is int(side x long / short), as torchvision's Resize has it.
    """
    image = image.convert("L" if view.channels == 1 else "RGB")
    if view.rule == "crop" and max(image.size) > MAX_RATIO * min(image.size):
        image = _middle(image)
    width, height = image.size
    kernel = _KERNELS[view.interpolation]
    match view.rule:
        case "square":
            return Image.fromarray(image_decoder.square(image, view.size))
        case "crop":
            side, basis = view.shorter_side, min(width, height)
        case "whole":
            side, basis = view.size, max(width, height)
    target = _scaled(width, side, basis), _scaled(height, side, basis)
    return image if target == image.size else image.resize(target, kernel)


def _middle(image: Image.Image) -> Image.Image:
    """The middle of a strip, MAX_RATIO times as long as it is wide."""
    longest = MAX_RATIO * min(image.size)
    left, top = (max(0, (edge - longest) // 2) for edge in image.size)
    return image.crop((left, top, min(image.width, left + longest), min(image.height, top + longest)))


def _scaled(edge: int, side: int, basis: int) -> int:
    return side if edge == basis else max(1, int(side * edge / basis))


def centre(image: Image.Image, side: int) -> Image.Image:
    """The centre square of `side` pixels, rounded as torchvision's CenterCrop rounds."""
    left, top = (int(round((edge - side) / 2.0)) for edge in image.size)  # noqa: RUF046 (as it is written there)
    return image.crop((left, top, left + side, top + side))


def show(image: Image.Image, view: View) -> NDArray[np.uint8]:
    """The pixels (H, W, C) uint8 that a network is shown of a decoded photograph; square unless the rule is whole."""
    scaled = resized(image, view)
    return pixels(centre(scaled, view.size) if view.rule == "crop" else scaled)


def ten_crops(image: Image.Image, view: View) -> NDArray[np.uint8]:
    """Ten views of a decoded photograph, (10, S, S, C) uint8: the four corners and the centre once it is resized, and
    those of its mirror image, in the order of torchvision's TenCrop."""
    scaled = resized(image, view)
    return np.stack([*_five(scaled, view.size), *_five(ImageOps.mirror(scaled), view.size)])


def _five(image: Image.Image, side: int) -> list[NDArray[np.uint8]]:
    right, bottom = image.width - side, image.height - side
    corners = ((0, 0), (right, 0), (0, bottom), (right, bottom))
    cut = [image.crop((left, top, left + side, top + side)) for left, top in corners]
    return [pixels(part) for part in (*cut, centre(image, side))]


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, C) of a picture in mode L or RGB."""
    array = np.array(image)  # a copy: what Pillow lends cannot be written to, and torch warns of it
    return array[..., np.newaxis] if array.ndim == 2 else array
