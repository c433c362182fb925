"""Augmentations of photographs by torchvision.transforms.v2, with draws from named random streams.

torchvision draws from torch's global generator. Here the generator is seeded for each draw and
restored, always in the thread that trains, so that neither threads nor a resumed run change a bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from resnetlab.data.transforms.randaugment import shear, translate

MAGNITUDES = 31
"""Number of magnitudes of TrivialAugment (Müller and Hutter 2021, sec. 3)."""

WIDE_OPERATIONS: tuple[tuple[float, float, bool, Callable[[Tensor, float], Tensor]], ...] = (
    (0.0, 0.0, False, lambda image, _: image),
    (0.0, 0.99, True, lambda image, size: shear(image, across=size)),
    (0.0, 0.99, True, lambda image, size: shear(image, down=size)),
    (0.0, 32.0, True, lambda image, size: translate(image, across=size)),
    (0.0, 32.0, True, lambda image, size: translate(image, down=size)),
    (0.0, 135.0, True, lambda image, size: TF.rotate(image, size)),
    (0.0, 0.99, True, lambda image, size: TF.adjust_brightness(image, 1 + size)),
    (0.0, 0.99, True, lambda image, size: TF.adjust_saturation(image, 1 + size)),
    (0.0, 0.99, True, lambda image, size: TF.adjust_contrast(image, 1 + size)),
    (0.0, 0.99, True, lambda image, size: TF.adjust_sharpness(image, 1 + size)),
    (8.0, 2.0, False, lambda image, size: TF.posterize(image, round(size))),
    (1.0, 0.0, False, lambda image, size: TF.solarize(image, 255 * size)),
    (0.0, 0.0, False, lambda image, _: TF.autocontrast(image)),
    (0.0, 0.0, False, lambda image, _: TF.equalize(image)),
)
"""Operations of torchvision's TrivialAugmentWide: the first and the last magnitude, True if a
magnitude may be negative, and the function of an image (C, H, W) uint8 and a magnitude.
"""


@contextlib.contextmanager
def seeded_generator(seed: int) -> Iterator[None]:
    """Seed torch's global generator of the CPU for the `with` block, and restore it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def draw_trivial(count: int, generator: torch.Generator) -> Tensor:
    """Return the operation, the magnitude's number and a sign bit of each image, (N, 3) int64."""
    bounds = (len(WIDE_OPERATIONS), MAGNITUDES, 2)
    columns = [torch.randint(bound, (count,), generator=generator) for bound in bounds]
    return torch.stack(columns, 1)


def trivial_augment(image: Tensor, draw: Tensor) -> Tensor:
    """Apply one operation of TrivialAugment (Müller and Hutter 2021) to an image.

    Args:
        image: Image (C, H, W) uint8.
        draw: Row of `draw_trivial`, (3,).
    """
    kind, number, negative = draw.tolist()
    first, last, is_signed, operation = WIDE_OPERATIONS[kind]
    size = float(torch.linspace(first, last, MAGNITUDES)[number])
    changed: Tensor = operation(image, -size if is_signed and negative else size)
    return changed


def draw_erasing(count: int, probability: float, side: int, seed: int) -> Tensor:
    """Draw the rectangles of RandomErasing (Zhong et al. 2020) for images of `side` pixels.

    Args:
        count: Number of images, N.
        probability: Probability that an image gets a rectangle.
        side: Side of the images in pixels.
        seed: Seed of the draws.

    Returns:
        Top, left, height and width of each rectangle in pixels, (N, 4) int64. The height is 0 for
        images without one.
    """
    rectangles = torch.zeros((count, 4), dtype=torch.int64)
    if not probability:
        return rectangles
    erasing, blank = v2.RandomErasing(), torch.empty((3, side, side), dtype=torch.uint8)
    with seeded_generator(seed):
        for index in torch.nonzero(torch.rand(count) < probability)[:, 0].tolist():
            box = erasing.make_params([blank])
            if box["v"] is not None:  # None: no rectangle of these proportions fits
                rectangles[index] = torch.tensor([box["i"], box["j"], box["h"], box["w"]])
    return rectangles


def erase(image: Tensor, rectangle: Tensor, mean: tuple[float, ...]) -> Tensor:
    """Fill a rectangle of an image with the mean color, which is 0 after normalization.

    Args:
        image: Image (C, H, W) uint8.
        rectangle: Row of `draw_erasing`, (4,).
        mean: Mean of each channel, for pixels from 0 to 1.
    """
    top, left, height, width = rectangle.tolist()
    if not height:
        return image
    color = (255 * torch.tensor(mean)).round().to(torch.uint8)[:, None, None]
    erased: Tensor = TF.erase(image, top, left, height, width, color)
    return erased


Mixer = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""Function from images (B, C, H, W), labels (B,) and a seed to mixed images and class probabilities
(B, K).
"""


def make_mixer(mixup: float, cutmix: float, num_classes: int) -> Mixer | None:
    """Return the function that mixes the images of a batch, or None if nothing is mixed.

    With both, each batch gets one of the two at random, as in torchvision's training recipe.

    Args:
        mixup: Parameter of the beta distribution of mixup (Zhang et al. 2018); 0 for none.
        cutmix: The same of CutMix (Yun et al. 2019).
        num_classes: Number of classes, K.
    """
    kinds = [
        *([v2.MixUp(alpha=mixup, num_classes=num_classes)] if mixup else []),
        *([v2.CutMix(alpha=cutmix, num_classes=num_classes)] if cutmix else []),
    ]
    if not kinds:
        return None
    mix = v2.RandomChoice(kinds)

    def mixer(images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        with seeded_generator(seed):
            mixed: tuple[Tensor, Tensor] = mix(images, labels)
        return mixed

    return mixer
