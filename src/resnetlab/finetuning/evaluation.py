"""Evaluation of a fine-tuned network: predictions on a split, accuracy with its interval, and the
comparison of two networks on the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnetlab.data.photo_loader import Tta
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.finetuning.network.model import FEATURE_BATCH_SIZE, FinetuneModel, PartitionedModel
from resnetlab.finetuning.results import AccuracyEstimate, PairedComparison
from resnetlab.messages import ItemCallback, silent
from resnetlab.model_folder.model_file import Metric
from resnetlab.models.photo_predictions import (
    SplitPredictions,
    check_outputs,
    make_predict_outputs,
    predict_images,
)
from resnetlab.stats.exact import mcnemar
from resnetlab.stats.intervals import clopper_pearson
from resnetlab.training.evaluate import evaluate


def predict_photos(
    model: nn.Module,
    photo_split: PhotoSplit,
    transform: EvalTransform,
    device: torch.device,
    crops: int = 1,
    on_item: ItemCallback = silent,
    where: str = "the network",
) -> SplitPredictions:
    """Predict every photograph of a split in fp32, as the command `evaluate` does.

    With 10 `crops`, average the probabilities over ten crops. Raises NonFiniteOutputsError with the
    name `where` of the network.
    """
    predict_outputs = make_predict_outputs(model, transform, device, where)
    tta: Tta = "ten-crop" if crops == 10 else "none"
    # Whole photographs differ in shape, so that each is a batch of its own.
    batch_size = FEATURE_BATCH_SIZE if transform.crop_mode == "crop" else 1
    rows = []
    for prediction in predict_images(
        predict_outputs, photo_split.images, transform, tta, batch_size
    ):
        assert prediction.probabilities is not None, "a damaged photograph raises InputError"
        rows.append(prediction.probabilities)
        on_item("photographs scored", len(rows), len(photo_split))
    return SplitPredictions(np.stack(rows), photo_split.labels)


def compare(ours: SplitPredictions, theirs: SplitPredictions) -> PairedComparison:
    """Compare two networks on the same images with McNemar's exact test."""
    only_ours = int((ours.correct & ~theirs.correct).sum())
    only_theirs = int((theirs.correct & ~ours.correct).sum())
    return PairedComparison(
        baseline_accuracy_pct=100 * float(theirs.correct.mean()),
        only_this=only_ours,
        only_baseline=only_theirs,
        p=mcnemar(only_ours, only_theirs),
    )


def accuracy_estimate(predictions: SplitPredictions) -> AccuracyEstimate:
    """Return the accuracy of predictions, its Clopper-Pearson 95 % interval over the images, and
    the mean loss.
    """
    correct, images = int(predictions.correct.sum()), len(predictions.labels)
    low, high = clopper_pearson(correct, images)
    return AccuracyEstimate(
        images=images,
        correct=correct,
        accuracy_pct=100 * correct / images,
        low_pct=100 * low,
        high_pct=100 * high,
        loss_nats=predictions.loss_nats,
    )


def predict_from_features(
    finetune_model: FinetuneModel,
    partitioned: PartitionedModel,
    photo_split: PhotoSplit,
    transform: EvalTransform,
) -> SplitPredictions:
    """Predict a split with the present weights, from cached features of the frozen part if there
    are any.

    Raises NonFiniteOutputsError if an output is not finite.
    """
    inputs = finetune_model.features_or_pixels(partitioned, photo_split, transform)

    scored = evaluate(
        finetune_model.model,
        finetune_model.make_forward(partitioned, partitioned.trainable_part),
        inputs,
        finetune_model.world,
        batch_size=FEATURE_BATCH_SIZE,
    )
    check_outputs(scored.logits, finetune_model.config.slug)
    return SplitPredictions(torch.softmax(scored.logits.double(), 1).numpy(), photo_split.labels)


def accuracy_metric(split: str, estimate: AccuracyEstimate, data: str) -> Metric:
    """Convert an accuracy estimate to the form of model.json."""
    return Metric(
        name="top1_accuracy_pct",
        value=estimate.accuracy_pct,
        low=estimate.low_pct,
        high=estimate.high_pct,
        data=data,
        split=split,
        images=estimate.images,
    )


@dataclass(frozen=True)
class ClassCounts:
    """Counts of a split by class, of the classes that have images."""

    images: NDArray[np.int64]
    """Number of images (K,)."""
    right: NDArray[np.int64]
    """Number of correctly classified images (K,)."""

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the accuracies of the classes, from 0 to 1."""
        return float((self.right / self.images).mean())


def count_by_class(predictions: SplitPredictions) -> ClassCounts:
    """Count the images of each class that has any, and the correct predictions among them."""
    images = np.bincount(predictions.labels)
    right = np.bincount(predictions.labels[predictions.correct], minlength=len(images))
    return ClassCounts(images[images > 0], right[images > 0])


def balanced_differences(ours: SplitPredictions, theirs: SplitPredictions) -> NDArray[np.float64]:
    """Return the difference of two networks on each image (N,), for `sign_flip_p`.

    An image weighs 1 / (images of its class), so that their mean over the classes is the difference
    of the balanced accuracies.
    """
    weights = 1 / np.bincount(ours.labels)[ours.labels]
    differences: NDArray[np.float64] = weights * (ours.correct.astype(float) - theirs.correct)
    return differences
