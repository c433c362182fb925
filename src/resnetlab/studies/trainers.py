"""Trainers of the three kinds of runs: each opens the data of a run and trains it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from resnetlab.data.config import DataConfig, Dataset
from resnetlab.data.sources.torchvision_sets import TORCHVISION_SETS
from resnetlab.data.splits import load_dataset
from resnetlab.finetuning.dataset import PhotoDataset, load_photographs
from resnetlab.messages import Notify
from resnetlab.runs.kinds import BAG_OF_WORDS, FINE_TUNING, FROM_SCRATCH, RunKind
from resnetlab.runs.records import Result
from resnetlab.studies.plan import DataProperties

if TYPE_CHECKING:
    from resnetlab.runs.attempt import RunAttempt

Data = TypeVar("Data")
"""Opened data of a run: a `Dataset` of arrays, or a `PhotoDataset`."""


class Trainer(Protocol[Data]):
    """Functions that differ from one kind of run to another."""

    def load_data(self, data: DataConfig, cache: Path, notify: Notify = ...) -> Data:
        """Open the data of a run."""

    def data_properties(self, data: DataConfig, cache: Path, notify: Notify) -> DataProperties:
        """Open data and return what a plan needs to know about them."""

    def train(self, attempt: RunAttempt, data: Data) -> Generator[None, None, Result | None]:
        """Train a run to its end or until it is stopped. See `runs.session.run_attempt`."""


class FromScratchTrainer:
    """Trainer of models from scratch, on arrays of images of one size."""

    load_data = staticmethod(load_dataset)

    def data_properties(self, data: DataConfig, cache: Path, notify: Notify) -> DataProperties:
        """Open data and return what a plan needs to know about them."""
        dataset = load_dataset(data, cache, notify)
        for note in dataset.notes:
            notify(note)
        return DataProperties(
            name=dataset.name,
            identity=dataset.identity,
            classes=dataset.classes,
            channels=dataset.channels,
            image_size=dataset.image_size,
            train_images=len(dataset.train),
            class_share=float(dataset.class_shares.max()),
            about=dataset.about,
            validation_images=len(dataset.validation) if dataset.validation is not None else 0,
            test_images=len(dataset.test),
            available_train_images=dataset.available_train_images,
        )

    def train(self, attempt: RunAttempt, data: Dataset) -> Generator[None, None, Result | None]:
        """Train a run from scratch."""
        from resnetlab.runs.session import run_attempt

        return run_attempt(attempt, data)


class BagOfWordsTrainer(FromScratchTrainer):
    """Trainer of a bag of visual words."""

    def train(self, attempt: RunAttempt, data: Dataset) -> Generator[None, None, Result | None]:
        """Fit a bag of visual words."""
        from resnetlab.runs.bag_of_words import run_bag_of_words_attempt

        return run_bag_of_words_attempt(attempt, data)


class FinetuneTrainer:
    """Trainer of pre-trained models, on photographs that a recipe resizes itself."""

    load_data = staticmethod(load_photographs)

    def data_properties(self, data: DataConfig, cache: Path, notify: Notify) -> DataProperties:
        """Open photographs and return what a plan needs to know about them."""
        photos = load_photographs(data, cache, notify)
        for note in photos.notes:
            notify(note)
        return DataProperties(
            name=photos.name,
            identity=photos.identity,
            classes=photos.classes,
            channels=3,
            image_size=0,
            train_images=len(photos.train),
            class_share=photos.class_share,
            about=photos.pretraining_overlap,
            validation_images=len(photos.validation),
            test_images=len(photos.test),
        )

    def train(
        self, attempt: RunAttempt, data: PhotoDataset
    ) -> Generator[None, None, Result | None]:
        """Fine-tune a model."""
        from resnetlab.finetuning.session import run_finetune_attempt  # torchvision takes seconds

        return run_finetune_attempt(attempt, data)


def properties_without_data(data: DataConfig) -> DataProperties:
    """Return the properties of a named data set from the table of known sets.

    The content of the images is unknown, so the ids of the planned runs are not final.
    """
    known = TORCHVISION_SETS[data.source]
    test = known.train_images // data.folds if data.folds else known.test_images
    available = known.train_images - (test if data.folds else 0)
    validation = round(data.validation * available)
    train = available - validation
    return DataProperties(
        name=data.source,
        identity=data.identity(sha256=""),
        classes=tuple(map(str, range(known.num_classes))),
        channels=known.channels,
        image_size=known.image_size,
        train_images=min(train, data.train_images or train),
        class_share=1 / known.num_classes,
        validation_images=validation,
        test_images=test,
    )


_TRAINERS: dict[RunKind, Trainer[Any]] = {
    FROM_SCRATCH: FromScratchTrainer(),
    FINE_TUNING: FinetuneTrainer(),
    BAG_OF_WORDS: BagOfWordsTrainer(),
}


def trainer_of(kind: RunKind) -> Trainer[Any]:
    """Return the trainer of a kind of run."""
    return _TRAINERS[kind]
