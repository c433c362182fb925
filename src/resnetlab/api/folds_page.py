"""Page of a cross-validation: the model of a fold classifies the photographs of that fold."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from resnetlab.api.finetune_page import (
    MAX_DRAWING_SECONDS,
    MAX_FINETUNE_MISTAKES,
    calibrated_predictions,
    heat_map_note,
)
from resnetlab.deploy.evaluate import PredictionsWithImages, evaluate
from resnetlab.deploy.inputs import EvaluationImages
from resnetlab.deploy.mistakes import MistakeDrawing, draw_mistakes
from resnetlab.deploy.predict import load_model
from resnetlab.deploy.results import Misclassification
from resnetlab.finetuning.cross_validation import FinetunedFolds
from resnetlab.finetuning.finetune_photos import FinetunedModel
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.reports.folds import FoldsSurroundings, write_folds_page
from resnetlab.runs.provenance import made_by
from resnetlab.translation import Language


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

    One model is in memory at a time.

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
    predictions, licenses = list[PredictionsWithImages](), list[str]()
    for finetuned in folds.models:
        model = load_model(finetuned.model_folder, device=device, accept_license=True)
        predictions.append(calibrated_predictions(model, finetuned))
        licenses.append(str(model.file.license))
    pooled = _pool(predictions)
    photos = folds.models[0].photos
    labels = tuple(photos.classes[label] for label in pooled.labels)
    data = EvaluationImages(photos.name, "test", photos.classes, pooled.images, labels)
    scores = evaluate(model, data, pooled, folds.models[0].tta)
    name = folds.report_folder.name
    # The other fields are about one model.
    scores = replace(
        scores, model=name, model_sha256="", caveats=(), calibration=None, sets=None, novelty=None
    )
    drawings = _draw(
        folds.models,
        predictions,
        scores.mistakes[:MAX_FINETUNE_MISTAKES],
        device,
        max_drawing_seconds,
        notify,
        on_item,
    )
    notes = [*_notes(folds.models), heat_map_note(drawings, max_drawing_seconds)]
    surroundings = FoldsSurroundings(
        command,
        final_command,
        tuple(dict.fromkeys(licenses)),
        tuple(filter(None, notes)),
        made_by(),
    )
    return write_folds_page(
        folds.result, scores, drawings, surroundings, folds.report_folder, language
    )


def _pool(predictions: Sequence[PredictionsWithImages]) -> PredictionsWithImages:
    """Return the predictions of all folds as those of one model."""
    return PredictionsWithImages(
        np.concatenate([part.probabilities for part in predictions]),
        np.concatenate([part.labels for part in predictions]),
        tuple(image for part in predictions for image in part.images),
    )


def _notes(models: Sequence[FinetunedModel]) -> list[str]:
    """Return the different notes of all folds, without those that say which fold it is."""
    notes = [note for model in models for note in model.photos.notes]
    return [note for note in dict.fromkeys(notes) if not note.startswith("fold ")]


def _draw(
    models: Sequence[FinetunedModel],
    predictions: Sequence[PredictionsWithImages],
    mistakes: tuple[Misclassification, ...],
    device: str,
    max_seconds: float,
    notify: Notify,
    on_item: ItemCallback,
) -> dict[str, MistakeDrawing]:
    """Draw misclassified images, by name, each with the heat map of the model that was wrong."""
    end = time.monotonic() + max_seconds if max_seconds >= 0 else -math.inf
    drawings = dict[str, MistakeDrawing]()
    for finetuned, part in zip(models, predictions, strict=True):
        names = {image.name for image in part.images}
        of_fold = tuple(mistake for mistake in mistakes if mistake.name in names)
        if of_fold:
            model = load_model(finetuned.model_folder, device=device, accept_license=True)
            rest = end - time.monotonic()
            drawings |= draw_mistakes(model, of_fold, part, notify, on_item, rest)
    return drawings
