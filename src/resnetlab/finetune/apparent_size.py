"""One photograph as it is shown in training and in evaluation, and how large things look in each (Touvron et al. 2019,
figure 2). The picture holds the photograph: it is a person's own, and stays with them."""

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
    """How much larger an object looks in training than in evaluation: the median over crops of a photograph.

    In training a crop of h x w pixels becomes S x S, so lengths grow by S / sqrt(h w); in evaluation the shorter side
    becomes int(256/224 T).
    """
    draws = draw_epoch(DRAWS, partial(stream, 0, "apparent"))
    boxes = [random_box(height, width, held) for held in draws.crop.tolist()]
    grown = [train_size / math.sqrt(h * w) for _, _, h, w in boxes]
    return float(np.median(grown)) / (int(256 / 224 * test_size) / min(width, height))


def draw(photo: Path, train_size: int, test_size: int, out: Path) -> str:
    """Write a picture of four train crops beside the test crop, and say the ratio. Raises InputError."""
    try:
        with image_decoder.quiet():
            image = image_decoder.decode(image_decoder.read(photo)).convert("RGB")
    except image_decoder.BadImageError as error:
        raise mistake(str(photo), str(error), "give a whole photograph") from None
    draws = draw_epoch(4, partial(stream, 0, "apparent"))
    tiles = []
    for place in range(4):
        top, left, h, w = random_box(image.height, image.width, draws.crop[place].tolist())
        box = (left, top, left + w, top + h)
        tiles.append(image.resize((train_size, train_size), Image.Resampling.BILINEAR, box=box))
    view = View(size=test_size, mean=(0.5,) * 3, deviation=(0.5,) * 3)
    tiles.append(centre(resized(image, view), test_size))
    sheet = Image.new("RGB", (sum(tile.width for tile in tiles) + 60, max(train_size, test_size) + 30), "white")
    left, pen = 10, ImageDraw.Draw(sheet)
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (left, 25))
        pen.text((left, 6), f"train {train_size}" if place < 4 else f"test {test_size}", fill="black")
        left += tile.width + 10
    file = io.BytesIO()
    sheet.save(file, "PNG")
    with atomic(out, "wb") as target:
        target.write(file.getvalue())
    found = ratio(image.width, image.height, train_size, test_size)
    return (
        f"train {train_size}, test {test_size}: things look {found:.2f} times as large in training as in evaluation "
        f"(median of {DRAWS:,} crops); {out}"
    )
