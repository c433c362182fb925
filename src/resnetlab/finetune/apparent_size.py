"""Apparent object size in training and in evaluation, with a drawing of both crops (Touvron et al.
2019, figure 2).

The drawing contains the user's own photograph, so it is never part of a public report.
"""

from __future__ import annotations

import io
import math
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from resnetlab.data.photo_loader import image_from_file
from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.eval_transform import EvalTransform, center_crop, resize_image
from resnetlab.data.transforms.photo_train import draw_photo_epoch, random_resized_crop_box
from resnetlab.errors import input_error
from resnetlab.files import atomic_write
from resnetlab.training.rng import make_generator

NUM_CROPS = 1000


def apparent_size_ratio(width: int, height: int, train_size: int, test_size: int) -> float:
    """Return the apparent size of an object in training divided by its size in evaluation (median
    over crops).

    In training a crop of h x w pixels is resized to S x S, which scales lengths by S / sqrt(h w).
    In evaluation the shorter side is resized to int(256/224 T).
    """
    draws = draw_photo_epoch(NUM_CROPS, partial(make_generator, 0, "apparent"))
    boxes = [random_resized_crop_box(height, width, uniforms) for uniforms in draws.crop.tolist()]
    scales = [train_size / math.sqrt(h * w) for _, _, h, w in boxes]
    return float(np.median(scales)) / (int(256 / 224 * test_size) / min(width, height))


def draw_crops(photo: Path, train_size: int, test_size: int, out: Path) -> str:
    """Draw four train crops beside the test crop and return a sentence with the ratio.

    Raises InputError.
    """
    try:
        with image_decoder.suppress_pillow_warnings():
            image = image_from_file(photo).load().convert("RGB")
    except image_decoder.BadImageError as error:
        raise input_error(str(photo), str(error), "give an undamaged photograph") from None
    draws = draw_photo_epoch(4, partial(make_generator, 0, "apparent"))
    tiles = []
    for index in range(4):
        top, left, h, w = random_resized_crop_box(
            image.height, image.width, draws.crop[index].tolist()
        )
        box = (left, top, left + w, top + h)
        tiles.append(image.resize((train_size, train_size), Image.Resampling.BILINEAR, box=box))
    view = EvalTransform(size=test_size, mean=(0.5,) * 3, std=(0.5,) * 3)
    tiles.append(center_crop(resize_image(image, view), test_size))
    sheet = Image.new(
        "RGB", (sum(tile.width for tile in tiles) + 60, max(train_size, test_size) + 30), "white"
    )
    left, draw = 10, ImageDraw.Draw(sheet)
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (left, 25))
        draw.text(
            (left, 6), f"train {train_size}" if index < 4 else f"test {test_size}", fill="black"
        )
        left += tile.width + 10
    file = io.BytesIO()
    sheet.save(file, "PNG")
    with atomic_write(out, "wb") as target:
        target.write(file.getvalue())
    value = apparent_size_ratio(image.width, image.height, train_size, test_size)
    return (
        f"train {train_size}, test {test_size}: objects appear {value:.2f} times as large in "
        "training as in evaluation "
        f"(median of {NUM_CROPS:,} crops); {out}"
    )
