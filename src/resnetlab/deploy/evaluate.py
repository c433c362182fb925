"""Evaluation of a model on labeled images: accuracy, per-class recall, calibration, confusions and
mistakes.

Intervals are Clopper-Pearson intervals over the images, as in fine-tuning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.photo_loader import LOADER_BATCH_SIZE, LazyImage, Tta
from resnetlab.deploy.checks import check_coverage, check_ood, match_classes
from resnetlab.deploy.confidence_scores import (
    DEFAULT_COVERAGE,
    OodNovelty,
    answered_shares,
    calibration_bins,
    compare_calibration,
    expected_calibration_error,
    score_novelty,
    score_sets,
)
from resnetlab.deploy.inputs import EvaluationImages, find_ood_photos
from resnetlab.deploy.metrics import average_precision, average_scores, f1_by_class, roc_auc
from resnetlab.deploy.predict import CalibratedPrediction, Classifier
from resnetlab.deploy.results import (
    ClassScore,
    Confusion,
    Misclassification,
    ModelEvaluation,
)
from resnetlab.errors import escape_controls, input_error
from resnetlab.messages import ItemCallback, format_count, silent
from resnetlab.models.photo_predictions import SplitPredictions
from resnetlab.stats.proportion import proportion


@dataclass(frozen=True)
class PredictionsWithImages(SplitPredictions):
    """Predictions with the readable images they belong to, and the files that are not readable."""

    images: tuple[LazyImage, ...]
    bad_files: tuple[tuple[str, str], ...] = ()
    uncalibrated: NDArray[np.float64] | None = None
    """Probabilities (N, K) before the temperature, for a model with one."""
    novelty: NDArray[np.float64] | None = None
    """Novelty (N,) of each image, for a model that can tell it."""


def predict_all(
    model: Classifier,
    data: EvaluationImages,
    *,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
    on_item: ItemCallback = silent,
) -> PredictionsWithImages:
    """Predict all images of `data`. Raises InputError if the model lacks a class of the data."""
    class_index = match_classes(model.classes, data)
    images, labels, results, bad = [], [], list[CalibratedPrediction](), list(data.bad_files)
    predictions = model.predict_images(data.images, tta=tta, batch_size=batch_size)
    for done, (prediction, label) in enumerate(zip(predictions, data.labels, strict=True), 1):
        if prediction.probabilities is None:
            bad.append((prediction.image.name, prediction.reason))
        else:
            images.append(prediction.image)
            labels.append(class_index[label])
            results.append(prediction)
        on_item("photographs", done, len(data.images))
    if not results:
        raise input_error(
            data.name,
            f"none of {format_count(len(bad), 'file')} is an image (first: "
            f"{bad[0][0]}: {bad[0][1]})",
            "give whole photographs",
        )
    raw = [result.uncalibrated for result in results if result.uncalibrated is not None]
    novelty = [result.novelty for result in results if result.novelty is not None]
    return PredictionsWithImages(
        np.stack([result.probabilities for result in results if result.probabilities is not None]),
        np.array(labels, np.int64),
        tuple(images),
        tuple(bad),
        uncalibrated=np.stack(raw) if model.confidence is not None else None,
        novelty=np.array(novelty) if novelty else None,
    )


def predict_ood(
    model: Classifier,
    folder: Path,
    *,
    batch_size: int = LOADER_BATCH_SIZE,
    on_item: ItemCallback = silent,
) -> OodNovelty:
    """Return the novelty of the images of other things in a folder.

    Raises InputError if the model has no novelty detector, or the folder has no image.
    """
    check_ood(model.confidence, model.confidence_note)
    images = find_ood_photos(folder)
    values, bad = list[float](), list[tuple[str, str]]()
    for done, result in enumerate(model.predict_images(images, batch_size=batch_size), 1):
        if result.novelty is None:
            bad.append((result.image.name, result.reason))
        else:
            values.append(result.novelty)
        on_item("photographs of other things", done, len(images))
    if not values:
        count = format_count(len(bad), "file")
        raise input_error("--ood", f"none of {count} is an image", "give photographs")
    return OodNovelty(escape_controls(folder.resolve().name), np.array(values), tuple(bad))


def evaluate(
    model: Classifier,
    data: EvaluationImages,
    predictions: PredictionsWithImages,
    tta: Tta = "none",
    *,
    coverage: float | None = None,
    ood: OodNovelty | None = None,
) -> ModelEvaluation:
    """Compute the metrics of the model's predictions on `data`.

    Args:
        model: Model of the predictions.
        data: Images with their classes.
        predictions: Predictions of the model on `data`.
        tta: Test-time augmentation of the predictions.
        coverage: Coverage of the prediction sets; None for `DEFAULT_COVERAGE` if the model can give
            it.
        ood: Novelty of images of other things.

    Raises:
        InputError: The model cannot give the coverage.
    """
    names, probabilities, labels = model.classes, predictions.probabilities, predictions.labels
    predicted, correct = predictions.predicted, predictions.correct
    label_probability = predictions.label_probabilities
    rank = (probabilities > label_probability[:, None]).sum(1)
    confidence = probabilities.max(1)
    bins = calibration_bins(confidence, correct)
    pairs = Counter(zip(labels[~correct].tolist(), predicted[~correct].tolist(), strict=True))
    mistakes = sorted(
        np.flatnonzero(~correct).tolist(),
        key=lambda k: (-confidence[k], predictions.images[k].name),
    )
    averages = average_scores(labels, predicted)
    return ModelEvaluation(
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
        ece_pct=expected_calibration_error(bins),
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
                label=names[labels[k]],
                predicted=names[predicted[k]],
                probability=float(confidence[k]),
                label_probability=float(label_probability[k]),
            )
            for k in mistakes
        ),
        answered=tuple(answered_shares(confidence, correct)),
        **_confidence_scores(model, predictions, tta, coverage, ood),
        bad_files=predictions.bad_files,
        notes=data.notes,
    )


def _confidence_scores(
    model: Classifier,
    predictions: PredictionsWithImages,
    tta: Tta,
    coverage: float | None,
    ood: OodNovelty | None,
) -> dict[str, Any]:
    """Return the fields of the result about calibration, prediction sets and novelty, by name.

    A field that the model or the test-time augmentation does not allow is absent.
    """
    if coverage is not None:
        check_coverage(model.confidence, model.confidence_note, coverage, tta)
    confidence, fields = model.confidence, dict[str, Any]()
    if confidence is None:
        return fields
    labels = predictions.labels
    if predictions.uncalibrated is not None:
        fields["calibration"] = compare_calibration(
            predictions.uncalibrated, predictions.probabilities, labels, confidence.temperature
        )
    if tta == "none":
        share = DEFAULT_COVERAGE if coverage is None else coverage
        fields["sets"] = score_sets(
            confidence, predictions.probabilities, labels, share, model.classes
        )
    if predictions.novelty is not None:
        fields["novelty"] = score_novelty(confidence, predictions.novelty, ood)
    return fields


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
