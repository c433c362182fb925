"""Evaluation of a trained network on labeled images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.data.photo_loader import LOADER_BATCH_SIZE, Tta
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.translation import Language

if TYPE_CHECKING:
    from resnetlab.deploy.inputs import EvaluationImages, SplitName
    from resnetlab.deploy.predict import Classifier
    from resnetlab.deploy.results import ModelEvaluation

MAX_REPORTED_MISTAKES = 24
"""Number of misclassified images on the page of an evaluation."""


def evaluate(
    model: Classifier,
    data: str,
    *,
    split: SplitName = "test",
    manifest: Path | None = None,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
    cache: str | Path = "cache",
    coverage: float | None = None,
    ood: str | Path | None = None,
    out: str | Path | None = None,
    language: Language = "en",
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> ModelEvaluation:
    """Evaluate a trained network: `rl.evaluate(rl.load_model("pets"), "photos").top1`.

    Args:
        model: Network from `load_model`.
        data: Folder of photographs, an `.npz` file or a named data set.
        split: Split of the data to evaluate on.
        manifest: Manifest that defines the splits of a folder.
        tta: Test-time augmentation.
        batch_size: Number of photographs in a batch.
        cache: Folder of the manifest of a folder without a test split.
        coverage: Coverage of the prediction sets, between 0 and 1; the default is 0.9.
        ood: Folder of photographs of other things than the classes (out of distribution).
        out: Folder for a page with the most confident mistakes and its tables; None writes no page.
        language: Language of the page.
        notify: Function that gets a line about each step.
        on_item: Callback for the progress of long steps.

    Returns:
        The accuracy with its interval, scores by class, calibration, and the mistakes.

    Raises:
        InputError: The data are invalid, the model lacks one of their classes, or it cannot give
            prediction sets or recognize photographs of other things.
    """
    from resnetlab.deploy.inputs import open_labeled_images

    labeled = open_labeled_images(
        data,
        split,
        Path(cache),
        notify,
        manifest_path=manifest,
        weights=[model.file.weights_sha256],
    )
    return evaluate_images(
        model,
        labeled,
        tta=tta,
        batch_size=batch_size,
        coverage=coverage,
        ood=ood,
        out=out,
        language=language,
        notify=notify,
        on_item=on_item,
    )


def evaluate_images(
    model: Classifier,
    images: EvaluationImages,
    *,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
    coverage: float | None = None,
    ood: str | Path | None = None,
    out: str | Path | None = None,
    command: str = "",
    language: Language = "en",
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> ModelEvaluation:
    """Evaluate a trained network on labeled images that are already listed; see `evaluate`.

    The page contains `command`.
    """
    from resnetlab.deploy.checks import check_coverage, check_ood
    from resnetlab.deploy.evaluate import evaluate, predict_all, predict_ood
    from resnetlab.deploy.mistakes import draw_mistakes
    from resnetlab.reports import evaluation as page
    from resnetlab.runs.provenance import made_by

    # Before the predictions, which may take minutes.
    if coverage is not None:
        check_coverage(model.confidence, model.confidence_note, coverage, tta)
    novelty = None
    if ood is not None:
        check_ood(model.confidence, model.confidence_note, tta)
        folder = Path(ood)
        novelty = predict_ood(model, folder, batch_size=batch_size, on_item=on_item)
    predictions = predict_all(model, images, tta=tta, batch_size=batch_size, on_item=on_item)
    notes = (*images.notes, *model.notes, *filter(None, [model.confidence_note]))
    images = replace(images, notes=notes)
    result = evaluate(model, images, predictions, tta, coverage=coverage, ood=novelty)
    if out is not None:
        mistakes = result.mistakes[:MAX_REPORTED_MISTAKES]
        drawings = draw_mistakes(model, mistakes, predictions, notify, on_item)
        page.write_evaluation_page(
            result,
            drawings,
            Path(out),
            command=command,
            made_by=made_by(),
            language=language,
        )
    return result
