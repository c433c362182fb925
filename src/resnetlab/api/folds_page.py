"""Page of a cross-validation: the model of a fold classifies the photographs of that fold."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from resnetlab.api.finetune_page import MAX_DRAWING_SECONDS, MAX_FINETUNE_MISTAKES
from resnetlab.data.photo_loader import Tta
from resnetlab.deploy.evaluate import PredictionsWithImages, evaluate
from resnetlab.deploy.inputs import EvaluationImages
from resnetlab.deploy.mistakes import MistakeDrawing, draw_mistakes
from resnetlab.deploy.predict import Classifier, load_model
from resnetlab.deploy.results import Misclassification, ModelEvaluation
from resnetlab.finetuning.cross_validation import FinetunedFolds
from resnetlab.finetuning.finetune_photos import FinetunedModel
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.reports.folds import FoldsSurroundings, write_folds_page
from resnetlab.runs.provenance import made_by
from resnetlab.translation import Language


@dataclass(frozen=True)
class _Fold:
    """Model of a fold, loaded, and its predictions on the photographs of the fold."""

    model: Classifier
    predictions: PredictionsWithImages
    tta: Tta


def write_cross_validation_page(
    folds: FinetunedFolds,
    *,
    command: str = "",
    final_command: str = "",
    device: str = "auto",
    max_drawing_seconds: float = MAX_DRAWING_SECONDS,
    language: Language = "en",
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> Path:
    """Write the page of a cross-validation beside its record, and return the path of the page.

    Args:
        folds: Result of `cross_validate`.
        command: Command that repeats the cross-validation.
        final_command: Command that trains one model without folds.
        device: Device that computes the heat maps.
        max_drawing_seconds: Seconds after which no further batch of heat maps is computed.
        language: Language of the page.
        notify: Function that gets a line about each step.
        on_item: Callback for the progress of long steps.
    """
    loaded = [_load_fold(model, device) for model in folds.models]
    photos = folds.models[0].photos
    scores = _evaluate_together(loaded, photos.name, photos.classes)
    displayed = scores.mistakes[:MAX_FINETUNE_MISTAKES]
    drawings = _draw(loaded, displayed, max_drawing_seconds, notify, on_item)
    surroundings = FoldsSurroundings(command, final_command, photos.notes, made_by())
    return write_folds_page(
        folds.result, scores, drawings, surroundings, folds.report_folder, language
    )


def _load_fold(finetuned: FinetunedModel, device: str) -> _Fold:
    model = load_model(finetuned.model_folder, device=device, accept_license=True)
    answers = finetuned.predictions
    calibrated = answers.probabilities
    if model.confidence is not None:
        calibrated = model.confidence.calibrate(calibrated)
    images = tuple(finetuned.photos.test.images)
    return _Fold(model, PredictionsWithImages(calibrated, answers.labels, images), finetuned.tta)


def _evaluate_together(
    folds: Sequence[_Fold], name: str, classes: tuple[str, ...]
) -> ModelEvaluation:
    """Evaluate the predictions of all folds as those of one model."""
    predictions = PredictionsWithImages(
        np.concatenate([fold.predictions.probabilities for fold in folds]),
        np.concatenate([fold.predictions.labels for fold in folds]),
        tuple(image for fold in folds for image in fold.predictions.images),
    )
    labels = tuple(classes[label] for label in predictions.labels)
    data = EvaluationImages(name, "test", classes, predictions.images, labels)
    first = folds[0]
    scores = evaluate(first.model, data, predictions, first.tta)
    # These fields are about one model.
    return replace(scores, model_sha256="", calibration=None, sets=None, novelty=None)


def _draw(
    folds: Sequence[_Fold],
    mistakes: tuple[Misclassification, ...],
    max_seconds: float,
    notify: Notify,
    on_item: ItemCallback,
) -> dict[str, MistakeDrawing]:
    """Draw misclassified images, by name, each with the heat map of the model that was wrong."""
    end = time.monotonic() + max_seconds if max_seconds >= 0 else -math.inf
    drawings = dict[str, MistakeDrawing]()
    for fold in folds:
        names = {image.name for image in fold.predictions.images}
        of_fold = tuple(mistake for mistake in mistakes if mistake.name in names)
        rest = end - time.monotonic()
        drawings |= draw_mistakes(fold.model, of_fold, fold.predictions, notify, on_item, rest)
    return drawings
