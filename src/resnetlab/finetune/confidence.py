"""Confidence of a fine-tuned model: fit what lets it say that it does not know, and write it.

Everything is fitted on the validation images, whose outputs did not train the network; they did
select its epoch and stage. The test images are not used.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from resnetlab.bundle.confidence import (
    MIN_VALIDATION_IMAGES,
    Confidence,
    SplitOutputs,
    fit_confidence,
    write_confidence,
)
from resnetlab.bundle.reading import read_model_file
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.finetune.dataset import PhotoDataset, PhotoSplit
from resnetlab.finetune.model import FEATURE_BATCH_SIZE, FinetuneModel
from resnetlab.messages import ItemCallback, Notify, format_count, silent
from resnetlab.training.photo_predictions import make_predict_outputs, predict_images

REFERENCE_IMAGES = 2_000
"""Number of train images whose features are stored, the same number of each class.

Sun et al. (2022, sec. 4.2) find nearest neighbors among 1 % of ImageNet about as good.
"""

MIN_REFERENCE_IMAGES = 10
"""Smallest number of train images of a class that are stored, if it has so many."""


def write_model_confidence(
    photos: PhotoDataset,
    finetune_model: FinetuneModel,
    transform: EvalTransform,
    folder: Path,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> Confidence | None:
    """Fit the confidence of the network and write it into its model folder.

    Args:
        photos: Photographs of the fine-tuning.
        finetune_model: Network with the weights of the model folder.
        transform: Evaluation transform of the model.
        folder: Model folder.
        notify: Function that gets a line with the result.
        on_item: Callback for the progress.

    Returns:
        The confidence, or None with too few validation images.

    Raises:
        ResourceError: The disk is full.
    """
    count = len(photos.validation)
    if count < MIN_VALIDATION_IMAGES:
        notify(
            f"{format_count(count, 'validation photograph')}: too few for a temperature and for "
            f"prediction sets, which need {MIN_VALIDATION_IMAGES}"
        )
        return None
    notify("fitting the temperature, the prediction sets and the distance to the training images")
    validation = split_outputs(photos.validation, finetune_model, transform, on_item)
    reference = split_outputs(select_reference(photos), finetune_model, transform, on_item)
    confidence = fit_confidence(
        validation, reference.features, reference.labels, read_model_file(folder).weights_sha256
    )
    write_confidence(folder, confidence)
    notify(
        f"temperature {confidence.temperature:.2f}, from {format_count(count, 'validation image')}"
    )
    return confidence


def count_confidence_images(photos: PhotoDataset) -> int:
    """Return the number of images that `write_model_confidence` predicts."""
    if len(photos.validation) < MIN_VALIDATION_IMAGES:
        return 0
    return len(photos.validation) + len(select_reference(photos))


def select_reference(photos: PhotoDataset) -> PhotoSplit:
    """Return the train images whose features are stored, evenly spaced within each class."""
    labels, num_classes = photos.train.labels, len(photos.classes)
    limit = max(MIN_REFERENCE_IMAGES, REFERENCE_IMAGES // num_classes)
    chosen: list[int] = []
    for label in range(num_classes):
        indices = np.flatnonzero(labels == label)
        spaced = np.linspace(0, len(indices) - 1, min(limit, len(indices)))
        chosen += indices[spaced.round().astype(np.int64)].tolist()
    rows = tuple(photos.train.rows[index] for index in chosen)
    return replace(photos.train, rows=rows, labels=labels[chosen])


def split_outputs(
    split: PhotoSplit,
    finetune_model: FinetuneModel,
    transform: EvalTransform,
    on_item: ItemCallback = silent,
) -> SplitOutputs:
    """Compute the probabilities, logits and features of a split, as the command `predict` does."""
    predict_outputs = make_predict_outputs(
        finetune_model.model,
        transform,
        finetune_model.device,
        finetune_model.spec.slug,
        with_features=True,
    )
    batch_size = FEATURE_BATCH_SIZE if transform.crop_mode == "crop" else 1
    probabilities, logits, features = [], [], []
    for result in predict_images(predict_outputs, split.images, transform, batch_size=batch_size):
        assert result.probabilities is not None, "a damaged photograph raises InputError"
        assert result.logits is not None
        assert result.features is not None
        probabilities.append(result.probabilities)
        logits.append(result.logits)
        features.append(result.features)
        on_item("photographs scored", len(features), len(split))
    return SplitOutputs(np.stack(probabilities), np.stack(logits), np.stack(features), split.labels)
