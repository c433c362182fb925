"""Confidence of a fine-tuned model: fit and write the values with which the model can abstain.

Everything is fitted on the validation images, whose outputs did not train the network; they did
select its epoch and stage. The test images are not used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.finetuning.dataset import PhotoDataset, PhotoSplit
from resnetlab.finetuning.network.model import FEATURE_BATCH_SIZE, FinetuneModel
from resnetlab.messages import ItemCallback, Notify, format_count, silent
from resnetlab.model_folder.confidence import (
    MIN_VALIDATION_IMAGES,
    Confidence,
    SplitOutputs,
    fit_confidence,
    write_confidence,
)
from resnetlab.model_folder.read import read_model_file
from resnetlab.models.photo_predictions import check_outputs, make_predict_outputs, predict_images

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
    reference: PhotoSplit | None = None,
) -> Confidence | None:
    """Fit the confidence of the network and write it into its model folder.

    Args:
        photos: Photographs of the fine-tuning.
        finetune_model: Network with the weights of the model folder.
        transform: Evaluation transform of the model.
        folder: Model folder.
        notify: Function that gets a line with the result.
        on_item: Callback for the progress.
        reference: Train images whose features are stored; None for those of `select_reference`.

    Returns:
        The confidence, or None with too few validation images.

    Raises:
        ResourceError: The disk is full.
    """
    if too_few := describe_too_few(len(photos.validation)):
        notify(too_few)
        return None
    notify("fitting the temperature, the prediction sets and the distance to the training images")
    validation = split_outputs(photos.validation, finetune_model, transform, on_item)
    if reference is None:
        reference = select_reference(photos)
    outputs = split_outputs(reference, finetune_model, transform, on_item)
    return fit_and_write(validation, outputs.features, reference.labels, folder, notify)


def describe_too_few(images: int) -> str:
    """Return a sentence if so many validation photographs are too few; otherwise ""."""
    if images >= MIN_VALIDATION_IMAGES:
        return ""
    return (
        f"{format_count(images, 'validation photograph')}: too few for a temperature and for "
        f"prediction sets, which need {MIN_VALIDATION_IMAGES}"
    )


def fit_and_write(
    validation: SplitOutputs,
    reference: NDArray[np.floating],
    reference_labels: NDArray[np.int64],
    folder: Path,
    notify: Notify = silent,
) -> Confidence:
    """Fit the confidence of the model in `folder`, and write it there.

    Args:
        validation: Outputs of the model for at least `MIN_VALIDATION_IMAGES` images.
        reference: Features (R, F) of train images.
        reference_labels: Their classes (R,), each class at least once.
        folder: Model folder.
        notify: Function that gets a line with the result.

    Raises:
        ResourceError: The disk is full.
    """
    confidence = fit_confidence(
        validation, reference, reference_labels, read_model_file(folder).weights_sha256
    )
    write_confidence(folder, confidence)
    count = format_count(len(validation.labels), "validation image")
    notify(f"temperature {confidence.temperature:.2f}, from {count}")
    return confidence


def select_reference(photos: PhotoDataset) -> PhotoSplit:
    """Return the train images whose features are stored, evenly spaced within each class."""
    return photos.train.take_evenly(reference_counts(len(photos.classes)))


def least_reference(photos: PhotoDataset) -> PhotoSplit:
    """Return the smallest number of train images that are stored, if time is short."""
    return photos.train.take_evenly(np.full(len(photos.classes), MIN_REFERENCE_IMAGES))


def reference_counts(num_classes: int) -> NDArray[np.int64]:
    """Return the largest number of stored train images of each class (K,)."""
    return np.full(num_classes, max(MIN_REFERENCE_IMAGES, REFERENCE_IMAGES // num_classes))


def split_outputs(
    split: PhotoSplit,
    finetune_model: FinetuneModel,
    transform: EvalTransform,
    on_item: ItemCallback = silent,
) -> SplitOutputs:
    """Compute the probabilities, logits and features of a split in fp32, as `predict` does.

    The features come from the cache of the network, if it has one.
    """
    partitioned = finetune_model.partition_for_training("classifier", transform.size)
    if not partitioned.at_head:
        return _predict_outputs(split, finetune_model, transform, on_item)
    features = finetune_model.head_inputs(partitioned, split, transform, on_item, fp32=True)
    with torch.inference_mode():
        batches = torch.split(features.to(finetune_model.device), FEATURE_BATCH_SIZE)
        logits = torch.cat([partitioned.trainable_part(batch) for batch in batches])
    check_outputs(logits, finetune_model.config.slug)
    return outputs_of(features.numpy(), logits, split.labels)


def outputs_of(
    features: NDArray[np.float32], logits: Tensor, labels: NDArray[np.int64]
) -> SplitOutputs:
    """Return the outputs of N images from their features (N, F), logits (N, K) and classes."""
    double = logits.double().cpu()
    return SplitOutputs(torch.softmax(double, 1).numpy(), double.numpy(), features, labels)


def _predict_outputs(
    split: PhotoSplit,
    finetune_model: FinetuneModel,
    transform: EvalTransform,
    on_item: ItemCallback,
) -> SplitOutputs:
    """Compute the outputs of a network that cannot be partitioned at its classifier."""
    predict_outputs = make_predict_outputs(
        finetune_model.model,
        transform,
        finetune_model.device,
        finetune_model.config.slug,
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
