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

from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.eval_transform import View, centre, resized
from resnetlab.data.transforms.photo_train import draw_epoch, random_box
from resnetlab.errors import mistake
from resnetlab.files import atomic
from resnetlab.training.rng import stream

DRAWS = 1000


def ratio(width: int, height: int, train_size: int, test_size: int) -> float:
    """Return the apparent size of an object in training divided by its size in evaluation (median
    over crops).

    In training a crop of h x w pixels is resized to S x S, which scales lengths by S / sqrt(h w).
    In evaluation the shorter side is resized to int(256/224 T).
    """
    draws = draw_epoch(DRAWS, partial(stream, 0, "apparent"))
    boxes = [random_box(height, width, uniforms) for uniforms in draws.crop.tolist()]
    scales = [train_size / math.sqrt(h * w) for _, _, h, w in boxes]
    return float(np.median(scales)) / (int(256 / 224 * test_size) / min(width, height))


def draw(photo: Path, train_size: int, test_size: int, out: Path) -> str:
    """Draw four train crops beside the test crop and return a sentence with the ratio.

    Raises InputError.
    """
    try:
        with image_decoder.quiet():
            image = image_decoder.decode(image_decoder.read(photo)).convert("RGB")
    except image_decoder.BadImageError as error:
        raise mistake(str(photo), str(error), "give a whole photograph") from None
    draws = draw_epoch(4, partial(stream, 0, "apparent"))
    tiles = []
    for index in range(4):
        top, left, h, w = random_box(image.height, image.width, draws.crop[index].tolist())
        box = (left, top, left + w, top + h)
        tiles.append(image.resize((train_size, train_size), Image.Resampling.BILINEAR, box=box))
    view = View(size=test_size, mean=(0.5,) * 3, deviation=(0.5,) * 3)
    tiles.append(centre(resized(image, view), test_size))
    sheet = Image.new(
        "RGB", (sum(tile.width for tile in tiles) + 60, max(train_size, test_size) + 30), "white"
    )
    left, pen = 10, ImageDraw.Draw(sheet)
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (left, 25))
        pen.text(
            (left, 6), f"train {train_size}" if index < 4 else f"test {test_size}", fill="black"
        )
        left += tile.width + 10
    file = io.BytesIO()
    sheet.save(file, "PNG")
    with atomic(out, "wb") as target:
        target.write(file.getvalue())
    value = ratio(image.width, image.height, train_size, test_size)
    return (
        f"train {train_size}, test {test_size}: things look {value:.2f} times as large in "
        "training as in evaluation "
        f"(median of {DRAWS:,} crops); {out}"
    )
