"""Apparent object size in training and in evaluation, with a drawing of both crops (Touvron et al.
2019, figure 2).

The drawing contains the user's own photograph, so it is never part of a public report.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from resnetlab.data.photo_loader import image_from_file
from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.eval_transform import EvalTransform, center_crop, resize_image
from resnetlab.data.transforms.photo_train import draw_photo_epoch, random_resized_crop_box
from resnetlab.errors import input_error
from resnetlab.files import atomic_write
from resnetlab.training.rng import make_generator

NUM_CROPS = 1000
OBJECT_SHARE = 0.25
"""Side of the square that stands for an object, as a share of the photograph's shorter side."""

TRAIN_COLOR, TEST_COLOR, OBJECT_COLOR, INK = COLORS = ("#d62300", "#0072b2", "#ffd400", "#1c1e21")
PHOTO_HEIGHT, GAP, LINE = 330, 16, 20
"""Height of the drawn photograph, distance between pictures and height of a line, in pixels."""


@dataclass(frozen=True)
class ApparentSizes:
    """Size of an object as a network sees it, in training and at one test size.

    An object of `object_size` pixels of the photograph has `train_pixels` in the median train crop
    and `test_pixels` in the test crop.
    """

    train_size: int
    test_size: int
    object_size: int
    train_pixels: float
    test_pixels: float

    @property
    def ratio(self) -> float:
        """Size in training divided by the size in evaluation."""
        return self.train_pixels / self.test_pixels

    @property
    def text(self) -> str:
        """Sentence with the sizes of the object and their ratio."""
        return (
            f"train {self.train_size}, test {self.test_size}: objects appear {self.ratio:.2f} "
            f"times as large in training as in evaluation; one of {self.object_size} pixels in the "
            f"photograph has {self.train_pixels:.0f} in the median of {NUM_CROPS:,} train crops, "
            f"and {self.test_pixels:.0f} in the test crop"
        )


def median_crop_side(width: int, height: int) -> float:
    """Return the side in pixels of a square as large as the median train crop of a photograph.

    The crops are those of RandomResizedCrop; the side of a crop of h x w pixels is sqrt(h w).
    """
    draws = draw_photo_epoch(NUM_CROPS, partial(make_generator, 0, "apparent"))
    boxes = [random_resized_crop_box(height, width, uniforms) for uniforms in draws.crop.tolist()]
    return 1 / float(np.median([1 / math.sqrt(h * w) for _, _, h, w in boxes]))


def apparent_sizes(width: int, height: int, train_size: int, test_size: int) -> ApparentSizes:
    """Return the sizes of an object in the median train crop and in the test crop.

    In training a crop of h x w pixels is resized to S x S, which scales lengths by S / sqrt(h w).
    In evaluation the shorter side is resized to int(256/224 T).

    Args:
        width: Width of the photograph in pixels.
        height: Height of the photograph in pixels.
        train_size: Size S in pixels.
        test_size: Size T in pixels.
    """
    shorter = min(width, height)
    object_size = max(1, round(OBJECT_SHARE * shorter))
    return ApparentSizes(
        train_size=train_size,
        test_size=test_size,
        object_size=object_size,
        train_pixels=object_size * train_size / median_crop_side(width, height),
        test_pixels=object_size * int(256 / 224 * test_size) / shorter,
    )


def median_train_crop(image: Image.Image, train_size: int) -> Image.Image:
    """Return the crop around the center that is as large as the median train crop, resized.

    A crop larger than the shorter side is cut there.
    """
    side = min(median_crop_side(*image.size), *image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((train_size, train_size), Image.Resampling.BILINEAR, box=box)


def evaluation_crop(image: Image.Image, test_size: int) -> Image.Image:
    """Return the center crop of an evaluation at `test_size`."""
    transform = EvalTransform(size=test_size, mean=(0.5,) * 3, std=(0.5,) * 3)
    return center_crop(resize_image(image, transform), test_size)


def draw_crops(
    photo: Path, train_size: int, test_sizes: Sequence[int], out: Path
) -> tuple[ApparentSizes, ...]:
    """Draw a photograph with the frames of its crops, and beside it the pictures that they become.

    The pictures have the pixels that the network gets: the train crop as large as the median of
    RandomResizedCrop's, at `train_size`, and the center crop at each test size. A square marks the
    same part of the photograph in all of them.

    Args:
        photo: Path of the photograph.
        train_size: Size of the train crop in pixels.
        test_sizes: Sizes of the test crop in pixels.
        out: Path of the drawing, a PNG file.

    Returns:
        The sizes of the marked square, for each test size.

    Raises:
        InputError: The photograph cannot be read.
    """
    try:
        with image_decoder.suppress_pillow_warnings():
            image = image_from_file(photo).load().convert("RGB")
    except image_decoder.BadImageError as error:
        raise input_error(str(photo), str(error), "give an undamaged photograph") from None
    sizes = tuple(
        apparent_sizes(image.width, image.height, train_size, test_size) for test_size in test_sizes
    )
    panels = [_photo_panel(image), _train_panel(image, sizes[0])]
    panels += [_test_panel(image, size) for size in sizes]
    file = io.BytesIO()
    _join(panels).save(file, "PNG")
    with atomic_write(out, "wb") as target:
        target.write(file.getvalue())
    return sizes


@dataclass(frozen=True)
class _Panel:
    """Picture with the lines of text above it."""

    picture: Image.Image
    lines: tuple[tuple[str, str], ...]
    """Texts with their colors."""


def _photo_panel(image: Image.Image) -> _Panel:
    """Return the photograph with the frames of the train crop, the test crop and the object."""
    scale = PHOTO_HEIGHT / image.height
    picture = image.resize((max(1, round(image.width * scale)), PHOTO_HEIGHT))
    shorter = min(image.size)
    frames = (
        (median_crop_side(*image.size), TRAIN_COLOR),
        (shorter * 224 / 256, TEST_COLOR),
        (OBJECT_SHARE * shorter, OBJECT_COLOR),
    )
    for side, color in frames:
        _frame(picture, side * scale, color)
    lines = (
        (f"photograph, {image.width} x {image.height}", INK),
        ("frame: train crop (median)", TRAIN_COLOR),
        ("frame: test crop (every size)", TEST_COLOR),
        (f"square, an object: {round(OBJECT_SHARE * shorter)} pixels", INK),
    )
    return _Panel(picture, lines)


def _train_panel(image: Image.Image, sizes: ApparentSizes) -> _Panel:
    """Return the train crop around the center at the train size, with the object."""
    picture = median_train_crop(image, sizes.train_size)
    _frame(picture, sizes.train_pixels, OBJECT_COLOR)
    lines = (
        (f"train crop at {sizes.train_size}", TRAIN_COLOR),
        (f"square: {sizes.train_pixels:.0f} pixels", INK),
    )
    return _Panel(picture, lines)


def _test_panel(image: Image.Image, sizes: ApparentSizes) -> _Panel:
    """Return the test crop at a test size, with the object."""
    picture = evaluation_crop(image, sizes.test_size)
    _frame(picture, sizes.test_pixels, OBJECT_COLOR)
    lines = (
        (f"test crop at {sizes.test_size}", TEST_COLOR),
        (f"square: {sizes.test_pixels:.0f} pixels", INK),
        (f"training: {sizes.ratio:.2f} times as large", INK),
    )
    return _Panel(picture, lines)


def _frame(picture: Image.Image, side: float, color: str) -> None:
    """Draw a square frame with a dark edge around the center of a picture."""
    x, y = picture.width / 2, picture.height / 2
    draw = ImageDraw.Draw(picture)
    for half, width, edge in ((side / 2 + 1, 5, INK), (side / 2, 3, color)):
        draw.rectangle((x - half, y - half, x + half, y + half), outline=edge, width=width)


def _join(panels: Sequence[_Panel]) -> Image.Image:
    """Return the panels side by side on white, with their texts above them."""
    font = ImageFont.load_default(15)
    widths = [
        max(panel.picture.width, *(math.ceil(font.getlength(text)) for text, _ in panel.lines))
        for panel in panels
    ]
    head = LINE * max(len(panel.lines) for panel in panels) + GAP // 2
    height = head + max(panel.picture.height for panel in panels)
    size = (sum(widths) + GAP * (len(panels) + 1), height + 2 * GAP)
    sheet = Image.new("RGB", size, "white")
    draw, left = ImageDraw.Draw(sheet), GAP
    for panel, width in zip(panels, widths, strict=True):
        for index, (text, color) in enumerate(panel.lines):
            draw.text((left, GAP + LINE * index), text, fill=color, font=font)
        sheet.paste(panel.picture, (left, GAP + head))
        left += width + GAP
    return sheet
