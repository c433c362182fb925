"""Evaluation of a model on labeled images: accuracy, per-class recall, calibration, confusions and
mistakes.

Intervals are Clopper-Pearson intervals over the images, as in fine-tuning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.photo_loader import LOADER_BATCH_SIZE, LazyImage, Tta
from resnetlab.deploy.inputs import LabeledImages
from resnetlab.deploy.metrics import average_precision, average_scores, f1_by_class, roc_auc
from resnetlab.deploy.predict import Classifier
from resnetlab.deploy.request import match_classes
from resnetlab.deploy.results import (
    CalibrationBin,
    ClassScore,
    Confusion,
    EvaluationResult,
    Misclassification,
    proportion,
)
from resnetlab.errors import input_error
from resnetlab.messages import ItemCallback, format_count, silent
from resnetlab.training.photo_predictions import Predictions

NUM_BINS = 15
"""Number of bins of equal width over the highest probability (Guo et al. 2017, sec. 4)."""


@dataclass(frozen=True)
class PredictionSet(Predictions):
    """Predictions with the readable images they belong to, and the files that are not readable."""

    images: tuple[LazyImage, ...]
    bad_files: tuple[tuple[str, str], ...] = ()


def predict_all(
    model: Classifier,
    data: LabeledImages,
    *,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
    on_item: ItemCallback = silent,
) -> PredictionSet:
    """Predict all images of `data`. Raises InputError if the model lacks a class of the data."""
    class_index = match_classes(model.classes, data)
    images, labels, rows, bad = [], [], [], list(data.bad_files)
    predictions = model.predict_images(data.images, tta=tta, batch_size=batch_size)
    for done, (prediction, label) in enumerate(zip(predictions, data.labels, strict=True), 1):
        if prediction.probabilities is None:
            bad.append((prediction.image.name, prediction.reason))
        else:
            images.append(prediction.image)
            labels.append(class_index[label])
            rows.append(prediction.probabilities)
        on_item("photographs", done, len(data.images))
    if not rows:
        raise input_error(
            data.name,
            f"none of {format_count(len(bad), 'file')} is an image (first: "
            f"{bad[0][0]}: {bad[0][1]})",
            "give whole photographs",
        )
    return PredictionSet(np.stack(rows), np.array(labels, np.int64), tuple(images), tuple(bad))


def evaluate(
    model: Classifier, data: LabeledImages, predictions: PredictionSet, tta: Tta = "none"
) -> EvaluationResult:
    """Compute the metrics of the model's predictions on `data`."""
    names, probabilities, labels = model.classes, predictions.probabilities, predictions.labels
    predicted, correct = predictions.predicted, predictions.correct
    label_probability = predictions.label_probabilities
    rank = (probabilities > label_probability[:, None]).sum(1)
    confidence = probabilities.max(1)
    bins = tuple(_calibration_bins(confidence, correct))
    pairs = Counter(zip(labels[~correct].tolist(), predicted[~correct].tolist(), strict=True))
    mistakes = sorted(
        np.flatnonzero(~correct).tolist(),
        key=lambda k: (-confidence[k], predictions.images[k].name),
    )
    averages = average_scores(labels, predicted)
    return EvaluationResult(
        model=model.file.name,
        model_sha256=model.file.weights_sha256,
        license=model.file.license,
        caveats=model.file.caveats,
        data=data.name,
        split=data.split,
        tta=tta,
        top1=proportion(int(correct.sum()), len(correct)),
        top5=proportion(int((rank < 5).sum()), len(correct)),
        balanced_accuracy_pct=averages.balanced_accuracy_pct,
        macro_f1_pct=averages.macro_f1_pct,
        weighted_f1_pct=averages.weighted_f1_pct,
        loss_nats=predictions.loss_nats,
        ece_pct=sum(item.images * abs(item.accuracy_pct - item.confidence_pct) for item in bins)
        / len(correct),
        outputs=len(names),
        classes=tuple(_class_scores(names, probabilities, labels, predicted)),
        bins=bins,
        confusions=tuple(
            Confusion(true=names[true], predicted=names[other], images=images)
            for (true, other), images in pairs.most_common()
        ),
        mistakes=tuple(
            Misclassification(
                name=predictions.images[k].name,
                true=names[labels[k]],
                predicted=names[predicted[k]],
                probability=float(confidence[k]),
                true_probability=float(label_probability[k]),
            )
            for k in mistakes
        ),
        bad_files=predictions.bad_files,
        notes=data.notes,
    )


def _class_scores(
    names: Sequence[str],
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> Iterator[ClassScore]:
    f1 = f1_by_class(labels, predicted, len(names))
    for k in np.unique(labels).tolist():
        of_class, as_class = labels == k, predicted == k
        right, count = int((of_class & as_class).sum()), int(as_class.sum())
        yield ClassScore(
            name=names[k],
            recall=proportion(right, int(of_class.sum())),
            predicted=count,
            precision=proportion(right, count) if count else None,
            f1_pct=float(f1[k]),
            roc_auc=roc_auc(of_class, probabilities[:, k]),
            average_precision=average_precision(of_class, probabilities[:, k]),
        )


def _calibration_bins(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_]
) -> Iterator[CalibrationBin]:
    bin_index = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    for k in range(NUM_BINS):
        in_bin = bin_index == k
        count = int(in_bin.sum())
        mean, accuracy = (
            100 * float(values[in_bin].mean()) if count else 0.0 for values in (confidence, correct)
        )
        yield CalibrationBin(
            low=k / NUM_BINS,
            high=(k + 1) / NUM_BINS,
            images=count,
            confidence_pct=mean,
            accuracy_pct=accuracy,
        )
