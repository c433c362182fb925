"""Configs of data sets: source, splits and augmentation; and the arrays of images.

Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from resnetlab.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    strict_dataclass,
)
from resnetlab.schema_errors import FieldError

if TYPE_CHECKING:  # configs are read where numpy is not: in the page that judges in a browser
    import numpy as np
    from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

FollowLinks = Literal["no", "inside", "anywhere"]
"""Links in a folder of images: none is followed, those to what is inside the folder, or all."""


@dataclass(frozen=True)
class FolderChoices:
    """Choices of a user for reading a folder of images."""

    follow_links: FollowLinks = "no"
    path_column: str = ""
    """Column of `labels.csv` with the paths; empty to recognize it by its name."""
    label_column: str = ""
    """Column of `labels.csv` with the classes; empty to recognize it by its name."""
    nested: bool = False
    """Use of the images in sub-folders of a class's folder."""
    group: str = ""
    """Rule for groups of images that a drawn split keeps together; empty for none."""


DEFAULT_FOLDER_CHOICES = FolderChoices()


@strict_dataclass
class DataConfig:
    """Data set config: the source of images and its split into train, validation and test."""

    source: str
    """Source of the images: a name (`digits`, `cifar10`, ...), an `.npz` or a folder of images."""
    validation: UnitInterval = 0.1
    """Fraction of the train images that become the validation split, by class; 0 for none.

    A source's own split has priority.
    """
    split_seed: NonNegativeInt = 0
    """Seed of the random streams that draw the splits; it is independent of the seed of a run."""
    test_curve: bool = False
    """Test curve: evaluate the test split at every evaluation as well. It selects nothing."""
    curve_images: PositiveInt | None = None
    """Number of images evaluated during training, the same random ones each time; None for all.

    The result of a run is always of all images of a split.
    """
    train_images: PositiveInt | None = None
    """Number of train images to use, by class: a reduced protocol, which the report states."""
    image_size: Annotated[int, "pixels"] | None = None
    """Side in pixels of the square to which a folder's images are resized and cropped."""
    skip_bad: bool = False
    """Skipping of a folder's broken files. The list of skipped files is part of the data's hash."""
    split: str | None = None
    """Splits of images for fine-tuning: train, validation and test as fractions (`.6,.2,.2`) or
    counts, or a manifest (`.csv`) of `resnetlab data split`.

    None: the layout of the folder.
    """
    follow_links: FollowLinks = "no"
    """Links in a folder: `no` follows none, `inside` those to what is inside the folder, `anywhere`
    all.
    """
    path_column: str = ""
    """Column of a folder's `labels.csv` with the paths; empty: recognized by its name."""
    label_column: str = ""
    """Column of a folder's `labels.csv` with the classes; empty: recognized by its name."""
    nested: bool = False
    """Use of the images in sub-folders of a class's folder."""
    group: str = ""
    """Groups of a folder's images that a drawn split keeps together, such as those of one patient:
    `folder` (below that of the class), `regex:PATTERN` (what it finds in a path), `column:NAME`
    (of `labels.csv`) or `exif-time:MINUTES` (photographs without a longer pause between them).

    Near copies always stay together.
    """
    folds: PositiveInt | None = None
    """Number of folds of a cross-validation, stratified by class; None for none.

    The images of the train split (in fine-tuning, all photographs of a folder without a test split)
    are divided into that many parts, and `fold` is the test split.
    """
    fold: NonNegativeInt = 0
    """Fold that is the test split, from 0 to `folds` - 1."""

    @property
    def folder_choices(self) -> FolderChoices:
        """Choices for reading a folder."""
        return FolderChoices(
            self.follow_links, self.path_column, self.label_column, self.nested, self.group
        )

    def identity(
        self, sha256: str, validation: float | None = None, groups_sha256: str = ""
    ) -> DataIdentity:
        """Return the data part of a run's identity, for images with this SHA-256.

        `validation` is the fraction of validation images if it is not that of this config, because
        the source has a split of its own. `groups_sha256` is that of the groups that a drawn split
        keeps together by a rule.
        """
        return DataIdentity(
            sha256=sha256,
            validation=self.validation if validation is None else validation,
            split_seed=self.split_seed,
            test_curve=self.test_curve,
            curve_images=self.curve_images,
            train_images=self.train_images,
            folds=self.folds,
            fold=self.fold,
            groups_sha256=groups_sha256,
        )

    def __post_init__(self) -> None:
        if not self.source:
            raise FieldError("source", "empty", 'source = "digits"')
        if self.image_size is not None and not 4 <= self.image_size <= 1024:
            raise FieldError(
                "image_size", f"{self.image_size} is not between 4 and 1024", "image_size = 64"
            )
        if self.folds is not None and self.folds < 2:
            raise FieldError("folds", "fewer than two folds", "folds = 5")
        if self.folds is not None and self.split is not None:
            raise FieldError("folds", "given together with split", "keep one of the two")
        if self.fold and self.fold >= (self.folds or 1):
            message = f"{self.fold} is none of {self.folds} folds, which count from 0"
            raise FieldError("fold", message if self.folds else "given without folds", "folds = 5")


@strict_dataclass
class ChannelStats:
    """Fixed normalization: mean and standard deviation per channel, for pixels from 0 to 1."""

    mean: tuple[NonNegativeFloat, ...]
    """Mean per channel, one or three numbers."""
    std: tuple[PositiveFloat, ...]
    """Standard deviation per channel, as many numbers as means."""

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            problem = f"{len(self.mean)} means and {len(self.std)} standard deviations"
            raise FieldError("mean", problem, "give one of each per channel, 1 or 3")


NormalizeMode = (
    Literal["train", "half", "none", "per-image", "zca", "imagenet", "practical"] | ChannelStats
)
"""Normalization of pixels; `Recipe.normalize` explains the words."""

CHANNEL_STATS_PRESETS = {
    # Statistics of ImageNet's train images, as torchvision's networks expect them.
    "imagenet": ChannelStats(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    # Deep Learning practical 5-6, sec. 3.1, as printed. Its deviations are means over the
    # deviations of single images. Those of a channel over all of CIFAR-10's train images are 0.247,
    # 0.243 and 0.262.
    "practical": ChannelStats(mean=(0.491, 0.482, 0.447), std=(0.202, 0.199, 0.201)),
}


@strict_dataclass
class RandAugment:
    """RandAugment: random operations for each image, all of one magnitude (Cubuk et al. 2020)."""

    operations: PositiveInt = 2
    """Number of operations that are applied one after another."""
    magnitude: Annotated[NonNegativeInt, "of 30"] = 9
    """Strength of each operation, from 0 to 30."""

    def __post_init__(self) -> None:
        if self.magnitude > 30:
            raise FieldError("magnitude", "above 30, the largest", "magnitude = 9")


@strict_dataclass
class Augment:
    """Augmentation that is drawn for each train image in each epoch."""

    crop_padding: NonNegativeInt = 0
    """Padding in black pixels on each side, before a random crop of the image's own size."""
    flip: bool = False
    """Horizontal flip with probability one half."""
    cutout: NonNegativeInt = 0
    """Cutout: side in pixels of a square that is set to the mean (DeVries and Taylor 2017)."""
    crop: NonNegativeInt = 0
    """Side in pixels of a smaller crop, random in training, else the center; 0 for none."""
    randaugment: RandAugment | None = None
    """RandAugment after crop and flip."""
    mixup: NonNegativeFloat = 0.0
    """Mixup: each image is mixed with another of its batch, with a weight from Beta(mixup, mixup)
    (Zhang et al. 2018); 0: none.
    """

    def __post_init__(self) -> None:
        if self.crop and self.crop_padding:
            raise FieldError("crop", "given together with crop_padding", "keep one of the two")


@strict_dataclass
class DataIdentity:
    """Data part of a run's identity: the content and the splits, never the path."""

    sha256: str
    """SHA-256 of all pixels, labels, classes and splits."""
    validation: UnitInterval = 0.1
    split_seed: NonNegativeInt = 0
    test_curve: bool = False
    curve_images: PositiveInt | None = None
    train_images: PositiveInt | None = None
    folds: PositiveInt | None = None
    fold: NonNegativeInt = 0
    groups_sha256: str = ""
    """SHA-256 of the groups (`data.group`) by which a validation split or folds were drawn."""


@dataclass(frozen=True)
class LabeledImages:
    """Labeled images: `pixels` (N, H, W, C) uint8, C 1 or 3; `labels` (N,) int64 class indices."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """Data set of a source; `sha256` covers pixels, labels, classes and split of every image."""

    name: str
    classes: tuple[str, ...]
    train: LabeledImages
    test: LabeledImages
    validation: LabeledImages | None
    sha256: str
    notes: tuple[str, ...] = ()
    """Notes for the user, such as a split that was written or files that were skipped."""
    about: str = ""
    """Remark for readers of a report, such as images that differ from what their name suggests."""
    groups: NDArray[np.int64] | None = None
    """Group of each train image (N,); a drawn split keeps a group together. None: no groups."""


@dataclass(frozen=True)
class Dataset:
    """Data set that is split for training. The test split is never used for a choice."""

    name: str
    classes: tuple[str, ...]
    train: LabeledImages
    validation: LabeledImages | None
    test: LabeledImages
    identity: DataIdentity
    notes: tuple[str, ...] = ()
    about: str = ""
    available_train_images: int = 0
    """Number of train images before `train_images` takes a part of them."""

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return int(self.train.pixels.shape[3])

    @property
    def image_size(self) -> int:
        """Height of an image in pixels."""
        return int(self.train.pixels.shape[1])

    @property
    def class_shares(self) -> NDArray[np.float64]:
        """Fraction of the test images in each class (K,)."""
        import numpy as np

        return np.bincount(self.test.labels, minlength=len(self.classes)) / max(1, len(self.test))
