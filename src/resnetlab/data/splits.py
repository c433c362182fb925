"""Splits of a source into train, validation and test, by class and by `split_seed` alone.

The draws are those of `stratify.py`. The test split is the source's own, from which nothing is ever
taken, or a fold of the train images.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.data import stratify
from resnetlab.data.config import DataConfig, Dataset, LabeledImages, Source
from resnetlab.data.sources import open_source
from resnetlab.errors import input_error
from resnetlab.messages import Notify, silent


def load_dataset(data: DataConfig, cache: Path, notify: Notify = silent) -> Dataset:
    """Open `data.source` and split it. Raises InputError if it cannot be read."""
    source = open_source(
        data.source,
        image_size=data.image_size,
        cache=cache,
        notify=notify,
        skip_bad=data.skip_bad,
        folder_choices=data.folder_choices,
    )
    return split_dataset(source, data)


def split_dataset(source: Source, data: DataConfig) -> Dataset:
    """Split a source by the fields of `data`: first the fold for test, then validation, then
    `train_images` of the rest.

    A source's own validation split is used if there is one. Otherwise round(validation N) train
    images become the validation split, by class, and one image of each class stays in train. The
    images of a split stay in the source's order. Raises InputError when a class would lose its last
    train image, or when `train_images` is more than there are or fewer than the classes.
    """
    groups, is_drawn = source.groups, data.folds is not None
    if data.folds is not None:
        source = _take_fold(source, data.folds, data.fold, data.split_seed)
    train, validation, fraction = source.train, source.validation, 0.0
    if validation is None and data.validation:
        fraction, is_drawn = data.validation, True
        total = round(fraction * len(train))
        fix = "validation = 0, or more images of each class"
        drawn = stratify.stratified_mask(
            train.labels,
            source.classes,
            total,
            "validation",
            data.split_seed,
            where=source.name,
            fix=fix,
            groups=source.groups,
        )
        validation = _select_images(train, drawn) if total else None
        train = _select_images(train, ~drawn)
    available = len(train)
    if data.train_images is not None:
        train = _subsample(source, train, data.train_images, data.split_seed)
    groups_sha256 = ""
    if data.group and groups is not None and is_drawn:
        groups_sha256 = hashlib.sha256(groups.astype("<i8").tobytes()).hexdigest()
    identity = data.identity(source.sha256, fraction, groups_sha256)
    return Dataset(
        source.name,
        source.classes,
        train,
        validation,
        source.test,
        identity,
        source.notes,
        source.about,
        available,
    )


def _take_fold(source: Source, folds: int, fold: int, seed: int) -> Source:
    """Return the source with one fold of its train images as the test split.

    Raises InputError if a class would lose its last train image.
    """
    train, groups = source.train, source.groups
    is_test = stratify.fold_mask(
        train.labels, source.classes, folds, fold, seed, groups, where=source.name
    )
    note = (
        f"fold {fold} of {folds} (counted from 0) of the train images is the test split; the "
        "images of its test split are not used"
    )
    return replace(
        source,
        train=_select_images(train, ~is_test),
        test=_select_images(train, is_test),
        notes=(*source.notes, note),
        groups=None if groups is None else groups[~is_test],
    )


def _subsample(source: Source, train: LabeledImages, size: int, seed: int) -> LabeledImages:
    minimum, maximum = len(source.classes), len(train)
    if not minimum <= size <= maximum:
        problem = "not that many, or fewer than the classes"
        fix = f"train_images = {maximum if size > maximum else minimum}"
        allowed = f"{minimum} to {maximum}"
        raise input_error(
            source.name, problem, fix, field="train_images", got=size, allowed=allowed
        )
    # The dropped images are drawn, because a draw leaves every class at least one image.
    total = maximum - size
    return _select_images(
        train,
        ~stratify.stratified_mask(
            train.labels, source.classes, total, "train_images", seed, where="", fix=""
        ),
    )


def _select_images(images: LabeledImages, mask: NDArray[np.bool_]) -> LabeledImages:
    return images if mask.all() else LabeledImages(images.pixels[mask], images.labels[mask])
