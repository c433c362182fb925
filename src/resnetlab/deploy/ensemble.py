"""Several models that look at the same pictures: the mean of their probabilities, and whether it is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.deploy.pictures import Labelled
from resnetlab.deploy.predict import BATCH, Classifier, Tta
from resnetlab.deploy.record import Share
from resnetlab.deploy.score import Answers, Pulse, answer, share
from resnetlab.errors import mistake
from resnetlab.stats.estimate import Interval, t_interval
from resnetlab.stats.exact import mcnemar, paired_interval


@dataclass(frozen=True)
class Gain:
    """How many per cent points the ensemble is better, with its 95 % interval, paired over the same images."""

    points: float
    interval: Interval | None


@dataclass(frozen=True)
class Ensemble:
    """The members in the order given, and the mean of their probabilities."""

    names: tuple[str, ...]
    members: tuple[Share, ...]
    together: Share
    best: int
    """Which member is the best on these images: chosen by them, so that it is flattered."""
    over_best: Gain
    over_mean: Gain
    p: float
    """McNemar's exact p of "the ensemble and the best member differ on such images"."""
    agreed: Share
    """Images of which all members say the same."""


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


def weigh(names: Sequence[str], probabilities: Sequence[NDArray[np.float64]], truth: NDArray[np.int64]) -> Ensemble:
    """The ensemble of members whose `probabilities` (N, K) are of the same images, in the same order."""
    said = np.stack([each.argmax(1) for each in probabilities])  # (members, N)
    right = said == truth
    joint = np.mean(probabilities, axis=0).argmax(1) == truth
    best = int(right.sum(1).argmax())
    only_joint, only_best = int((joint & ~right[best]).sum()), int((~joint & right[best]).sum())
    images = len(truth)
    gains = (joint.astype(np.float64) - right.mean(0)) * 100
    return Ensemble(
        names=tuple(names), members=tuple(share(int(row.sum()), images) for row in right),
        together=share(int(joint.sum()), images), best=best,
        over_best=Gain(100 * (only_joint - only_best) / images, paired_interval(only_joint, only_best, images)),
        over_mean=Gain(float(gains.mean()), t_interval(gains.tolist())),
        p=mcnemar(only_joint, only_best), agreed=share(int((said == said[0]).all(0).sum()), images),
    )  # fmt: skip


def _in_order(model: Classifier, first: Classifier, found: Answers) -> NDArray[np.float64]:
    """The probabilities with the outputs in the order of the first model."""
    place = {name: k for k, name in enumerate(model.classes)}
    return found.probabilities[:, [place[name] for name in first.classes]]
