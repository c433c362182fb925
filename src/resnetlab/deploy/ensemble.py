"""Ensemble of several models on the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnetlab.deploy.ensemble_stats import Ensemble, weigh
from resnetlab.deploy.evaluate import Answers, Pulse, answer
from resnetlab.deploy.inputs import Labelled
from resnetlab.deploy.predict import BATCH, Classifier
from resnetlab.deploy.request import Tta
from resnetlab.errors import mistake


def combine(
    models: Sequence[Classifier],
    data: Labelled,
    *,
    tta: Tta = "none",
    batch: int = BATCH,
    pulse: Pulse = lambda *_: None,
) -> Ensemble:
    """Evaluate the members and the mean of their probabilities on `data`.

    Raises InputError unless all models have the same classes.
    """
    first = models[0]
    if len(models) < 2:
        raise mistake("MODELS", "one model is no ensemble", "give two or more")
    for other in models[1:]:
        if set(other.classes) != set(first.classes):
            names = sorted(set(other.classes) ^ set(first.classes))
            more = f" and {len(names) - 5} more" if names[5:] else ""
            what = (
                f"{other.file.name} and {first.file.name} have other classes: "
                f"{', '.join(names[:5])}{more}"
            )
            raise mistake("MODELS", what, "models of one data set")
    results = [answer(model, data, tta=tta, batch=batch, pulse=pulse) for model in models]
    probabilities = [
        _in_order(model, first, result) for model, result in zip(models, results, strict=True)
    ]
    return weigh([model.file.name for model in models], probabilities, results[0].truth)


def _in_order(model: Classifier, first: Classifier, answers: Answers) -> NDArray[np.float64]:
    """Return the probabilities (N, K) with the classes in the order of the first model."""
    index = {name: k for k, name in enumerate(model.classes)}
    return answers.probabilities[:, [index[name] for name in first.classes]]
