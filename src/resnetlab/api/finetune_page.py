"""Page of a fine-tuning: the model that was just written, evaluated again with its mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from resnetlab.deploy.evaluate import PredictionsWithImages, evaluate
from resnetlab.deploy.inputs import EvaluationImages, SplitName
from resnetlab.deploy.mistakes import MistakeDrawing, draw_mistakes
from resnetlab.deploy.predict import Classifier, load_model
from resnetlab.finetuning.finetune_photos import FinetunedModel
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.reports.document import Detail
from resnetlab.reports.finetuning import Surroundings, write_finetuning_page
from resnetlab.runs.provenance import made_by
from resnetlab.shell import command_line
from resnetlab.translation import Language

MAX_FINETUNE_MISTAKES = 12
"""Number of misclassified images on the page of a fine-tuning."""

MAX_DRAWING_SECONDS = 20.0
"""Seconds after which no further heat map is computed for the page of a fine-tuning."""


def write_finetune_page(
    finetuned: FinetunedModel,
    *,
    commands: Sequence[tuple[str, str]] = (),
    command: str = "",
    full_command: Mapping[str, str] | None = None,
    device: str = "auto",
    max_drawing_seconds: float = MAX_DRAWING_SECONDS,
    language: Language = "en",
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> Path:
    """Write the page of a fine-tuning beside its record, and return the path of the page.

    Args:
        finetuned: Result of `finetune`.
        commands: Commands that use the model, each with its purpose before it.
        command: Command that repeats the fine-tuning.
        full_command: Command with a larger time limit, by that limit.
        device: Device that computes the heat maps.
        max_drawing_seconds: Seconds after which no further batch of heat maps is computed.
        language: Language of the page.
        notify: Function that gets a line about each step.
        on_item: Callback for the progress of long steps.
    """
    result, photos = finetuned.result, finetuned.photos
    model = load_model(finetuned.model_folder, device=device, accept_license=True)
    names = tuple(photos.classes[k] for k in photos.test.labels)
    predictions = calibrated_predictions(model, finetuned)
    split: SplitName = "test" if result.has_test else "validation"
    data = EvaluationImages(photos.name, split, photos.classes, predictions.images, names)
    scores = evaluate(model, data, predictions, finetuned.tta)
    if not result.has_test:  # they were fitted on these images, so that they fit by construction
        scores = replace(scores, calibration=None, sets=None, novelty=None)
    mistakes = scores.mistakes[:MAX_FINETUNE_MISTAKES]
    drawings = draw_mistakes(model, mistakes, predictions, notify, on_item, max_drawing_seconds)
    counts = np.bincount(photos.train.labels, minlength=len(photos.classes)).tolist()
    surroundings = Surroundings(
        train_images=dict(zip(photos.classes, counts, strict=True)),
        num_validation=len(photos.validation),
        model_folder=finetuned.model_folder,
        commands=tuple(Detail(purpose, text) for purpose, text in commands),
        command=command,
        suspects_command=command_line(["resnetlab", "data", "suspects", str(photos.root)]),
        notes=tuple(filter(None, [*photos.notes, heat_map_note(drawings, max_drawing_seconds)])),
        made_by=made_by(),
    )
    return write_finetuning_page(
        result,
        scores,
        drawings,
        surroundings,
        finetuned.report_folder,
        full_command or {},
        language,
    )


def calibrated_predictions(model: Classifier, finetuned: FinetunedModel) -> PredictionsWithImages:
    """Return the predictions of a fine-tuning with their images, calibrated by its model."""
    raw = finetuned.predictions.probabilities
    calibrated = raw if model.confidence is None else model.confidence.calibrate(raw)
    images = tuple(finetuned.photos.test.images)
    labels = finetuned.predictions.labels
    return PredictionsWithImages(calibrated, labels, images, uncalibrated=raw)


def heat_map_note(drawings: Mapping[str, MistakeDrawing], max_seconds: float) -> str:
    """Return a sentence if some mistakes have no heat map because the time was over, else ""."""
    drawn = sum(drawing.heat_map is not None for drawing in drawings.values())
    # A network without spatial feature maps has none, whatever the time.
    if not drawings or drawn == len(drawings) or (not drawn and max_seconds >= 0):
        return ""
    return (
        f"heat maps of {drawn} of {len(drawings)} mistakes: the time limit left no time for the "
        "others"
    )
