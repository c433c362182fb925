"""Share of the training that a study had: the images that its runs see, of those that its file or
the source of its published numbers asks for, whichever asks for more.

A command may shorten a study (`--set recipe.epochs=2`, `--set data.train_images=10000`, a smaller
data set), and a study of the catalog may itself be shorter than its source. A verdict of such a
study says so in its words, because it is a verdict on the claim at this protocol, not on the claim
of its source.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from resnetlab.analysis.study_data import DatasetInfo
from resnetlab.data.sources.torchvision_sets import TORCHVISION_SETS
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.studies.study import Condition, Study
from resnetlab.translation import Message

FULL_SHARE = 0.999
"""Share from which a training counts as full: a few unreadable images do not shorten it."""

_SHORTENING = ("recipe", "recipe.epochs", "recipe.steps", "data.train_images")
"""Fields that shorten the training if a command changes them."""


@dataclass(frozen=True)
class TrainingShare:
    """Share of the training, from 0 to 1: the lowest and the highest of some conditions.

    Both are None if the share is not known, for a report of an older version.
    """

    low: float | None = None
    high: float | None = None

    @property
    def message(self) -> Message:
        """Share as the words of a verdict: `at 4 % of the training`."""
        if self.low is None or self.high is None:
            return Message("at a reduced training")
        low, high = rounded_percent(self.low), rounded_percent(self.high)
        if low == high:
            return Message("at {share:g} % of the training", {"share": low})
        return Message("at {low:g} to {high:g} % of the training", {"low": low, "high": high})


def rounded_percent(share: float) -> float:
    """Round a share to whole percent, below 1 % to two digits; it is never 100 % below 1."""
    percent = 100 * share
    if percent < 1:
        return float(f"{percent:.2g}")
    return float(round(percent) if share >= 1 else min(99, round(percent)))


def training_share(
    study: Study, data: dict[str, DatasetInfo], labels: Iterable[str]
) -> TrainingShare | None:
    """Return the share of the training of some conditions, or None if none of them is shortened.

    Args:
        study: Study of the conditions.
        data: Data of each condition, by its label.
        labels: Labels of the conditions.
    """
    shares = []
    for label in dict.fromkeys(labels):
        share = _condition_share(study, study.condition(label), data[label])
        if share is None:
            return TrainingShare()
        shares.append(share)
    if min(shares, default=1.0) >= FULL_SHARE:
        return None
    return TrainingShare(min(shares), max(shares))


def is_shortened(study: Study) -> bool:
    """Return True if a command may have shortened the training of the study file."""
    return any(change.key in _SHORTENING for change in study.overrides)


def images_seen(recipe: AnyRecipe, train_images: int) -> float:
    """Return the number of images that a run sees, each as often as it is seen."""
    return recipe.num_epochs(train_images) * train_images


def file_images_seen(condition: Condition, dataset: DatasetInfo) -> float | None:
    """Return the number of images that a run would see by the study file unchanged.

    None if the number of train images is not recorded.
    """
    available = _available_images(condition, dataset)
    recipe = condition.file_protocol.recipe if condition.file_protocol else condition.recipe
    return images_seen(recipe, available) if available else None


def source_images_seen(study: Study, condition: Condition, dataset: DatasetInfo) -> float | None:
    """Return the number of images that a run sees in the source of its published numbers.

    None if no source has a number of the condition on the same data with a known length. Of several
    sources the first one counts: a study lists its own source first.
    """
    seen: dict[str, float] = {}
    for reference in study.references:
        protocol, value = reference.protocol, reference.value
        same_data = dataset.name in (protocol.data, f"{protocol.data}-rebuilt")
        if reference.condition != condition.label or not same_data:
            continue
        images = protocol.train_images or _available_images(condition, dataset)
        epochs = value.epoch or protocol.epochs
        batch_size = protocol.fields.get("recipe.batch_size")
        if protocol.steps and batch_size and images:
            # As `Recipe.num_epochs`: the last batch of an epoch is a smaller one.
            length = protocol.steps / math.ceil(images / batch_size) * images
        elif epochs and images:
            length = epochs * images
        else:
            continue
        seen[reference.title] = max(length, seen.get(reference.title, 0.0))
    return next(iter(seen.values()), None)


def _available_images(condition: Condition, dataset: DatasetInfo) -> int | None:
    """Return the number of train images of the study file unchanged; None if it is unknown."""
    file = condition.file_protocol
    if file is None:
        return dataset.train_images
    available = file.data.train_images
    if available is None and file.data.source != condition.data.source:
        named = TORCHVISION_SETS.get(file.data.source)
        if named is not None:
            available = named.train_images - round(file.data.validation * named.train_images)
    if available is None:
        cut = condition.data.train_images is not None
        available = dataset.available_train_images if cut else dataset.train_images
    return available


def _condition_share(study: Study, condition: Condition, dataset: DatasetInfo) -> float | None:
    """Return the share of a condition, at most 1; None if it is shortened by an unknown share."""
    if condition.file_protocol is None and is_shortened(study):
        return None
    full = file_images_seen(condition, dataset)
    if full is None:
        return None
    full = max(full, source_images_seen(study, condition, dataset) or 0.0)
    return min(1.0, images_seen(condition.recipe, dataset.train_images) / full)
