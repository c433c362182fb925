"""What a network is shown of a photograph while it learns: crops, flips and colours from named streams.

Every draw of an epoch is a number from a stream of its own, ahead of time, so that neither threads nor a resumption
change a bit; torchvision's functions do the pixels, those of a random crop on bytes as torch holds them, which takes
less time than Pillow's images and gives nearly the same levels.
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

from resnetlab.data.transforms.eval_transform import View, pixels, resized, show

Augmentation = Literal["none", "standard", "test-like"]
"""none: as in evaluation. standard: RandomResizedCrop, flip, ColorJitter(.3, .3, .3). test-like: the shorter side
resized as in evaluation, flip, ColorJitter(.05, .05, .05), the centre crop shifted along the longer side at random
(Touvron et al. 2019, sec. 4 and 5)."""

SCALE = (0.08, 1.0)  # Szegedy et al. 2015, sec. 6
RATIO = (3 / 4, 4 / 3)  # Szegedy et al. 2015, sec. 6
TRIES = 10  # torchvision's RandomResizedCrop
REDUCTIONS = (1, 2, 4, 8)  # libjpeg's
USUAL_AREA = 0.15  # of a photograph; 92 % of the crops have more
JITTER = {"none": 0.0, "standard": 0.3, "test-like": 0.05}


@dataclass(frozen=True)
class Draws:
    """What one epoch meets; place i is image i. All from 0 to 1 but `order` and `turns`."""

    order: Tensor  # (N,) int64: which image comes when
    crop: Tensor  # (N, TRIES, 4): share of the area, ratio, top, left
    shift: Tensor  # (N,): along the longer side
    mirror: Tensor  # (N,) bool
    jitter: Tensor  # (N, 3): brightness, contrast, saturation
    turns: Tensor  # (N, 3) int64: in which order these are changed


def draw_epoch(count: int, draw: Callable[[str], torch.Generator]) -> Draws:
    """Draw an epoch over `count` images; `draw` gives a generator for each kind of draw."""
    return Draws(
        order=torch.randperm(count, generator=draw("order")),
        crop=torch.rand((count, TRIES, 4), generator=draw("crop"), dtype=torch.float64),
        shift=torch.rand(count, generator=draw("shift"), dtype=torch.float64),
        mirror=torch.rand(count, generator=draw("flip")) < 0.5,
        jitter=torch.rand((count, 3), generator=draw("jitter"), dtype=torch.float64),
        turns=torch.rand((count, 3), generator=draw("turns")).argsort(1),
    )


def reduction(view: View, how: Augmentation, draws: Draws, place: int, width: int, height: int) -> int:
    """Of a photograph of that size, the part of its sides at which its crop is still no smaller than it is shown.

    Of large crops it asks for no less than of usual ones: the work is nearly the same, and what was decoded for one
    epoch serves the next.
    """
    match how:
        case "none":
            return 1
        case "standard":
            *_, h, w = random_box(height, width, draws.crop[place].tolist())
            room = min(h, w, math.sqrt(USUAL_AREA * width * height)) / view.size
        case "test-like":
            room = min(width, height) / view.shorter_side
        case _:
            assert_never(how)
    return max((by for by in REDUCTIONS if by <= room), default=1)


def show_train(
    photo: NDArray[np.uint8], view: View, how: Augmentation, draws: Draws, place: int,
    whole: tuple[int, int] | None = None,
) -> Tensor:  # fmt: skip
    """The photograph at `place`, (H, W, 3), as (C, S, S) uint8, S being the size of `view`.

    `photo` may have been decoded at a part of its sides; `whole` is then its width and height before.
    """
    match how:
        case "none":
            return _planes(show(Image.fromarray(photo), view))
        case "standard":
            shown = _cropped(photo, view, draws.crop[place].tolist(), whole or (photo.shape[1], photo.shape[0]))
        case "test-like":
            held = shifted(resized(Image.fromarray(photo), view), view.size, float(draws.shift[place]))
            shown = _planes(pixels(held))
        case _:
            assert_never(how)
    if draws.mirror[place]:
        shown = TF.horizontal_flip(shown)
    return _coloured(shown, JITTER[how], draws.jitter[place].tolist(), draws.turns[place].tolist())


def _cropped(photo: NDArray[np.uint8], view: View, tries: list[list[float]], whole: tuple[int, int]) -> Tensor:
    """A random crop (C, S, S) of a photograph (H, W, 3) that was `whole` (width, height) before it was decoded."""
    top, left, height, width = random_box(whole[1], whole[0], tries)
    y, x = photo.shape[0] / whole[1], photo.shape[1] / whole[0]
    rows = slice(round(top * y), max(round(top * y) + 1, round((top + height) * y)))
    columns = slice(round(left * x), max(round(left * x) + 1, round((left + width) * x)))
    shown: Tensor = TF.resize(_planes(photo[rows, columns]), [view.size, view.size], antialias=True)
    return shown if view.channels == 3 else TF.rgb_to_grayscale(shown)


def _planes(array: NDArray[np.uint8]) -> Tensor:
    """(H, W, C) seen as (C, H, W)."""
    return torch.from_numpy(array).permute(2, 0, 1)


def random_box(height: int, width: int, tries: list[list[float]]) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random crop of random shape (Szegedy et al. 2015, sec. 6).

    Each try has a share of the area, a ratio (uniform in its logarithm) and a place; the first that fits is taken,
    else the largest centre crop with a ratio in bounds.
    """
    low, high = (math.log(end) for end in RATIO)
    for area, ratio, top, left in tries:
        target = height * width * (SCALE[0] + area * (SCALE[1] - SCALE[0]))
        shape = math.exp(low + ratio * (high - low))
        w, h = round(math.sqrt(target * shape)), round(math.sqrt(target / shape))
        if 0 < w <= width and 0 < h <= height:
            return int(top * (height - h + 1)), int(left * (width - w + 1)), h, w
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def shifted(image: Image.Image, side: int, share: float) -> Image.Image:
    """A square of `side` pixels: in the middle of the shorter side, anywhere (`share`, 0 to 1) along the longer."""
    room_x, room_y = image.width - side, image.height - side
    along_x = room_x >= room_y
    left = int(share * (room_x + 1)) if along_x else room_x // 2
    top = room_y // 2 if along_x else int(share * (room_y + 1))
    return image.crop((left, top, left + side, top + side))


def _coloured(shown: Tensor, strength: float, draws: list[float], turns: list[int]) -> Tensor:
    """Brightness, contrast and saturation times 1 - strength to 1 + strength each, in the order of `turns`."""
    change = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation)
    for turn in turns:
        shown = change[turn](shown, 1 + strength * (2 * draws[turn] - 1))
    return shown
