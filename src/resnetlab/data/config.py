"""What a data set is, as data: where it comes from, how it is cut, and what it holds. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from resnetlab.schema import Amount, FieldError, Fraction, Positive, PositiveAmount, Whole, spec

Split = Literal["train", "validation", "test"]


@spec
class Data:
    """A source of images and how it is cut into train, validation and test."""

    source: str
    """A name (`digits`, `cifar10`, ...), an `.npz` of arrays, or a folder of images."""
    validation: Fraction = 0.1
    """Share of the train images set apart for validation, by class; 0 for none. A source's own split goes before."""
    split_seed: Whole = 0
    """Names the streams that cut the splits; never the seed of a run."""
    test_curve: bool = False
    """Record the test split at every evaluation as well. Nothing is ever chosen by it."""
    train_images: Positive | None = None
    """Keep this many train images, by class: a shrunken protocol, and the report says so."""
    image_size: Annotated[int, "pixels"] | None = None
    """Side of the square to which a folder's photographs are resized and cropped."""
    skip_bad: bool = False
    """Leave out the broken files of a folder; which they are is part of the data's hash."""
    split: str | None = None
    """Of photographs for fine-tuning: train, validation and test as shares (`.6,.2,.2`) or counts, or a manifest
    (`.csv`) of `resnetlab data split`. None: as the folder is laid out."""

    def __post_init__(self) -> None:
        if not self.source:
            raise FieldError("source", "empty", 'source = "digits"')
        if self.image_size is not None and not 4 <= self.image_size <= 1024:
            raise FieldError("image_size", f"{self.image_size} is not between 4 and 1024", "image_size = 64")


@spec
class Fixed:
    """Mean and standard deviation a channel, of pixels from 0 to 1, that a recipe gives."""

    mean: tuple[Amount, ...]
    deviation: tuple[PositiveAmount, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.deviation) or len(self.mean) not in (1, 3):
            what = f"{len(self.mean)} means and {len(self.deviation)} deviations"
            raise FieldError("mean", what, "give one of each a channel, 1 or 3")


Normalise = Literal["train", "half", "none", "per-image", "zca", "imagenet", "practical"] | Fixed
"""How pixels are put on a scale; the words in `Recipe.normalise`."""

PRESETS = {
    # Of ImageNet's train images, as torchvision's networks expect them.
    "imagenet": Fixed(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225)),
    # Deep Learning practical 5-6, sec. 3.1, as printed. Its deviations are the means of the images' own ones, not those
    # of a channel over CIFAR-10's train images, which are 0.247, 0.243 and 0.262.
    "practical": Fixed(mean=(0.491, 0.482, 0.447), deviation=(0.202, 0.199, 0.201)),
}


@spec
class RandAugment:
    """Operations drawn anew for each image, all of one magnitude (Cubuk et al. 2020)."""

    operations: Positive = 2
    """One after another."""
    magnitude: Annotated[Whole, "of 30"] = 9

    def __post_init__(self) -> None:
        if self.magnitude > 30:
            raise FieldError("magnitude", "above 30, the largest", "magnitude = 9")


@spec
class Augment:
    """What is drawn anew for each training image of each epoch."""

    crop_padding: Whole = 0
    """Black pixels added to each side before a crop of the image's own size."""
    flip: bool = False
    """Mirror left and right with probability one half."""
    cutout: Whole = 0
    """Side in pixels of a square set to the mean, centred anywhere (DeVries and Taylor 2017)."""
    crop: Whole = 0
    """Side in pixels of a smaller crop, without padding: anywhere in training, the centre in evaluation; 0 for none."""
    randaugment: RandAugment | None = None
    """After crop and flip."""
    mixup: Amount = 0.0
    """Each image is mixed with another of its batch by a share from Beta(mixup, mixup) (Zhang et al. 2018); 0: none."""

    def __post_init__(self) -> None:
        if self.crop and self.crop_padding:
            raise FieldError("crop", "given beside crop_padding", "keep one of the two")


@spec
class DataIdentity:
    """What of the data decides a run: its content and its cut, never its path."""

    sha256: str
    validation: Fraction = 0.1
    split_seed: Whole = 0
    test_curve: bool = False
    train_images: Positive | None = None


@dataclass(frozen=True)
class Images:
    """Labelled images: `pixels` (N, H, W, C) uint8, C 1 or 3; `labels` (N,) int64 below the number of classes."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """A data set as its source gives it. `sha256` covers pixels, labels, classes and split of every image."""

    name: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    validation: Images | None
    sha256: str
    notes: tuple[str, ...] = ()
    """Lines that a person should read: a split that was written, files that were passed over."""
    about: str = ""
    """What a reader of a report must know of the images: where they are not what their name says, say."""


@dataclass(frozen=True)
class Dataset:
    """A data set cut for training. The test split is reported and never chooses."""

    name: str
    classes: tuple[str, ...]
    train: Images
    validation: Images | None
    test: Images
    identity: DataIdentity
    notes: tuple[str, ...] = ()
    about: str = ""

    @property
    def channels(self) -> int:
        return int(self.train.pixels.shape[3])

    @property
    def side(self) -> int:
        """Height of an image in pixels."""
        return int(self.train.pixels.shape[1])

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each class among the test images (K,)."""
        return np.bincount(self.test.labels, minlength=len(self.classes)) / max(1, len(self.test))
