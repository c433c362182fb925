"""Several models that look at the same pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnetlab.deploy.asked import Tta
from resnetlab.deploy.pictures import Labelled
from resnetlab.deploy.predict import BATCH, Classifier
from resnetlab.deploy.score import Answers, Pulse, answer
from resnetlab.deploy.together import Ensemble, weigh
from resnetlab.errors import mistake


def combine(
    models: Sequence[Classifier], data: Labelled, *, tta: Tta = "none", batch: int = BATCH,
    pulse: Pulse = lambda *_: None,
) -> Ensemble:  # fmt: skip
    """Score the members and their mean on `data`. Raises InputError unless all have the same classes."""
    first = models[0]
    if len(models) < 2:
        raise mistake("MODELS", "one model is no ensemble", "give two or more")
    for other in models[1:]:
        if set(other.classes) != set(first.classes):
            odd = sorted(set(other.classes) ^ set(first.classes))
            what = f"{other.file.name} and {first.file.name} have other classes: {', '.join(odd[:5])}"
            raise mistake("MODELS", what + (f" and {len(odd) - 5} more" if odd[5:] else ""), "models of one data set")
    found = [answer(model, data, tta=tta, batch=batch, pulse=pulse) for model in models]
    probabilities = [_in_order(model, first, one) for model, one in zip(models, found, strict=True)]
    return weigh([model.file.name for model in models], probabilities, found[0].truth)


def _in_order(model: Classifier, first: Classifier, found: Answers) -> NDArray[np.float64]:
    """The probabilities with the outputs in the order of the first model."""
    place = {name: k for k, name in enumerate(model.classes)}
    return found.probabilities[:, [place[name] for name in first.classes]]
