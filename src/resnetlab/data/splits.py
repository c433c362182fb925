"""A Source cut into train, validation and test, by class and by `split_seed` alone. The seed of a run never enters.

The draws are those of `sources/strata.py`. The test split is the source's and is never cut, drawn from or lent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.data import stratify
from resnetlab.data.config import Data, DataIdentity, Dataset, Images, Source
from resnetlab.data.sources import Say, open_source, silent
from resnetlab.errors import mistake


def load(data: Data, cache: Path, say: Say = silent) -> Dataset:
    """Open `data.source` and cut it. Raises InputError, as `open_source` and `cut` do."""
    source = open_source(data.source, image_size=data.image_size, cache=cache, say=say, skip_bad=data.skip_bad)
    return cut(source, data)


def cut(source: Source, data: Data) -> Dataset:
    """Cut a source as `data` says: validation first, then `train_images` of what is left.

    A source's own validation split is kept; otherwise round(validation N) train images are set apart, by class, one
    image of each class staying in train. The images of a split stay in the source's order. Raises InputError when a
    class would lose its last train image, or when `train_images` is more than there are or fewer than the classes.
    """
    train, validation, share = source.train, source.validation, 0.0
    if validation is None and data.validation:
        share = data.validation
        total = round(share * len(train))
        fix = "validation = 0, or more images of each class"
        apart = stratify.draw(
            train.labels, source.classes, total, "validation", data.split_seed, where=source.name, fix=fix
        )
        train, validation = _keep(train, ~apart), _keep(train, apart) if total else None
    if data.train_images is not None:
        train = _shrink(source, train, data.train_images, data.split_seed)
    identity = DataIdentity(
        sha256=source.sha256,
        validation=share,
        split_seed=data.split_seed,
        test_curve=data.test_curve,
        train_images=data.train_images,
    )
    return Dataset(source.name, source.classes, train, validation, source.test, identity, source.notes, source.about)


def _shrink(source: Source, train: Images, size: int, seed: int) -> Images:
    least, most = len(source.classes), len(train)
    if not least <= size <= most:
        what, fix = "not that many, or fewer than the classes", f"train_images = {most if size > most else least}"
        allowed = f"{least} to {most}"
        raise mistake(source.name, what, fix, field="train_images", got=size, allowed=allowed)
    # What is dropped is drawn, not what is kept: a draw leaves every class an image.
    total = most - size
    return _keep(train, ~stratify.draw(train.labels, source.classes, total, "train_images", seed, where="", fix=""))


def _keep(images: Images, kept: NDArray[np.bool_]) -> Images:
    return images if kept.all() else Images(images.pixels[kept], images.labels[kept])
