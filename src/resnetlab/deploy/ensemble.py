"""Ensemble of several models on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.class_names import class_order
from resnetlab.data.photo_loader import LOADER_BATCH_SIZE, Tta
from resnetlab.deploy.evaluate import PredictionsWithImages, predict_all
from resnetlab.deploy.inputs import BadFiles, EvaluationImages
from resnetlab.deploy.predict import Classifier
from resnetlab.errors import input_error
from resnetlab.messages import ItemCallback, silent
from resnetlab.stats.ensembles import EnsembleResult, ensemble_result


@dataclass(frozen=True)
class EnsembleEvaluation(EnsembleResult):
    """Accuracy of an ensemble on labeled images, with the files that are left out, and notes."""

    bad_files: BadFiles = ()
    """Files that are not valid images, and the reason. No accuracy counts them."""
    notes: tuple[str, ...] = ()
    """Sentences on the images, such as the number of train images of the models among them."""


def evaluate_ensemble(
    models: Sequence[Classifier],
    data: EvaluationImages,
    *,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
    on_item: ItemCallback = silent,
) -> EnsembleEvaluation:
    """Evaluate the members and the mean of their probabilities on `data`.

    Raises InputError unless all models have the same classes.
    """
    first = models[0]
    if len(models) < 2:
        raise input_error("MODELS", "an ensemble needs two models", "give two or more")
    for other in models[1:]:
        if class_order(other.classes, first.classes) is None:
            names = sorted(set(other.classes) ^ set(first.classes))
            more = f" and {len(names) - 5} more" if names[5:] else ""
            message = (
                f"{other.file.name} and {first.file.name} have different classes: "
                f"{', '.join(names[:5])}{more}"
            )
            raise input_error("MODELS", message, "give models of one data set")
    results = [
        predict_all(model, data, tta=tta, batch_size=batch_size, on_item=on_item)
        for model in models
    ]
    probabilities = [
        _reorder_classes(model, first, result)
        for model, result in zip(models, results, strict=True)
    ]
    names = [model.file.name for model in models]
    result = ensemble_result(names, probabilities, results[0].labels)
    return EnsembleEvaluation(**vars(result), bad_files=results[0].bad_files, notes=data.notes)


def _reorder_classes(
    model: Classifier, first: Classifier, predictions: PredictionsWithImages
) -> NDArray[np.float64]:
    """Return the probabilities (N, K) with the classes in the order of the first model."""
    return predictions.probabilities[:, class_order(model.classes, first.classes)]
