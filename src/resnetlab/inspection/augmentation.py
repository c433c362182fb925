"""Limits of augmentation by random crops and flips, measured on the images. Trains nothing.

The variants of an image can be counted, they resemble it more or less than another image of its
class does, and a flip can change what an image shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnetlab.data.config import Augment, Dataset
from resnetlab.data.transforms.augment import center_crop, crop_and_hflip
from resnetlab.errors import input_error

MAX_COMPARED_IMAGES = 5000
"""Number of train images among which the nearest one is searched."""
CLEAR_POINTS = 10.0
"""Percentage points of labels above which a flip counts as a change of what the images show."""

Array = NDArray[np.float64]


SHIFTED, FLIPPED = "its shifted copies", "its flipped copy"
SAME_CLASS = "another image of its class"
"""Names of what an image is correlated with."""


@dataclass(frozen=True)
class AugmentationLimits:
    """Result of `measure_augmentation`."""

    places: int
    """Number of crops of an image."""
    flips: int
    """2 with flips, otherwise 1."""
    images: int
    distinct: float
    """Mean number of different variants of an image."""
    fewest_distinct: int
    train_images: int
    correlations: dict[str, float]
    """Mean correlation of an image with its shifted and flipped copies and with other images."""
    labels: tuple[dict[str, Any], ...]
    """Row per class: label of the nearest other image, without and with a flip; empty if the
    recipe does not flip."""


def crop_steps(side: int, augment: Augment) -> int:
    """Return the number of positions of a crop along one side of an image of `side` pixels."""
    return 1 + (side - augment.crop if augment.crop else 2 * augment.crop_padding)


def image_variants(image: Tensor, augment: Augment) -> Tensor:
    """Return all variants (V, h, w, C) of an image (H, W, C): all crops, then all of them flipped.

    They are those of a training batch with this augmentation, without its other operations.
    """
    steps = crop_steps(image.shape[0], augment)
    offsets = torch.cartesian_prod(torch.arange(steps), torch.arange(steps)).reshape(-1, 2)
    offsets = offsets.repeat(1 + augment.flip, 1)
    is_flipped = torch.arange(len(offsets)) >= steps**2
    copies = image[None].expand(len(offsets), -1, -1, -1)
    return crop_and_hflip(copies, offsets, is_flipped, augment.crop_padding, augment.crop)


def middle_place(places: int) -> int:
    """Return the index of the crop of evaluation, in the middle, among `places` crops."""
    steps = math.isqrt(places)
    return (steps - 1) // 2 * (steps + 1)


def measure_augmentation(
    dataset: Dataset, augment: Augment, images: int, recipe: str
) -> AugmentationLimits:
    """Measure the variants of `images` random train images, and what a flip does to their labels.

    Raises InputError if the augmentation has neither crops nor flips, or the crop does not fit.
    """
    if not (augment.crop or augment.crop_padding or augment.flip):
        fix = "another recipe, such as cifar, or --set recipe.augment.flip=true"
        raise input_error(recipe, "the recipe has neither random crops nor flips", fix)
    if augment.crop > dataset.image_size:
        problem = f"the images have {dataset.image_size} pixels a side"
        raise input_error(recipe, problem, "a smaller crop", field="augment.crop", got=augment.crop)
    generator = np.random.default_rng(0)
    order = generator.permutation(len(dataset.train))[:MAX_COMPARED_IMAGES]
    pixels = torch.from_numpy(dataset.train.pixels[order])
    labels = dataset.train.labels[order]
    variants = [image_variants(image, augment) for image in pixels[:images]]
    places = crop_steps(dataset.image_size, augment) ** 2
    counts = [len({image.numpy().tobytes() for image in copies}) for copies in variants]
    originals = center_crop(pixels, augment.crop)
    standardized = _standardize(originals)
    between_images = standardized[:images] @ standardized.T
    correlations: dict[str, list[float]] = {}
    for number, copies in enumerate(variants):
        values = _standardize(copies) @ standardized[number]
        middle = middle_place(places)
        pairs = {
            SHIFTED: np.delete(values[:places], middle),
            FLIPPED: values[places + middle :][: int(augment.flip)],
            SAME_CLASS: between_images[number][
                (labels == labels[number]) & (np.arange(len(labels)) != number)
            ],
            "an image of another class": between_images[number][labels != labels[number]],
        }
        for name, values_of_pair in pairs.items():
            if len(values_of_pair):
                correlations.setdefault(name, []).append(float(values_of_pair.mean()))
    flipped = labels_after_flip(originals, labels, dataset.classes, images) if augment.flip else ()
    return AugmentationLimits(
        places,
        1 + augment.flip,
        len(variants),
        float(np.mean(counts)),
        min(counts),
        len(dataset.train),
        {name: float(np.mean(numbers)) for name, numbers in correlations.items()},
        tuple(flipped),
    )


def _standardize(images: Tensor) -> Array:
    """Return images (N, H, W, C) as rows (N, D) of mean 0 and length 1, 0 for a constant image, so
    that products are correlations.
    """
    rows = images.reshape(len(images), -1).double().numpy()
    rows = rows - rows.mean(1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit


def labels_after_flip(
    images: Tensor, labels: NDArray[np.int64], classes: tuple[str, ...], count: int
) -> list[dict[str, Any]]:
    """Return for each class how often the nearest other image has the label of an image, as it is
    and flipped, for the first `count` of the images (N, H, W, C).

    Nearest means the smallest Euclidean distance of the pixels. The image itself is left out.
    """
    values = images.reshape(len(images), -1).double().numpy()
    squares = np.square(values).sum(1)
    predicted = {}
    for name, version in (("as_it_is", images[:count]), ("flipped", images[:count].flip(2))):
        queries = version.reshape(len(version), -1).double().numpy()
        distances = squares[None, :] - 2 * queries @ values.T
        distances[np.arange(len(queries)), np.arange(len(queries))] = np.inf
        predicted[name] = labels[distances.argmin(1)]
    rows = []
    for label, title in enumerate(classes):
        members = np.flatnonzero(labels[:count] == label)
        if not len(members):
            continue
        others = predicted["flipped"][members]
        others = np.bincount(others[others != label], minlength=len(classes))
        rows.append(
            {
                "class": title,
                "images": len(members),
                "same_label_pct": 100 * float(np.mean(predicted["as_it_is"][members] == label)),
                "same_label_flipped_pct": 100
                * float(np.mean(predicted["flipped"][members] == label)),
                "most_frequent_other_label": classes[int(others.argmax())] if others.any() else "",
                "other_label_count": int(others.max()),
            }
        )
    return rows
