"""Evaluation of a model on labeled images: accuracy with its interval, by class, calibration,
confusions, mistakes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.deploy.inputs import Labelled, Picture
from resnetlab.deploy.predict import BATCH, Classifier
from resnetlab.deploy.request import Tta, match_classes
from resnetlab.deploy.results import Bin, ClassScore, Confusion, Evaluated, Mistake, share
from resnetlab.errors import mistake

BINS = 15
"""Number of bins of equal width over the highest probability (Guo et al. 2017, sec. 4)."""

Pulse = Callable[[str, int, int], None]
"""Callback with the name of the step, the number of finished items and their total."""


@dataclass(frozen=True)
class Answers:
    """Predictions: probabilities (N, K) and class indices (N,) of the readable images, and the bad
    files.
    """

    pictures: tuple[Picture, ...]
    probabilities: NDArray[np.float64]
    truth: NDArray[np.int64]
    bad: tuple[tuple[str, str], ...]


def answer(
    model: Classifier,
    data: Labelled,
    *,
    tta: Tta = "none",
    batch: int = BATCH,
    pulse: Pulse = lambda *_: None,
) -> Answers:
    """Predict all images of `data`. Raises InputError if the model lacks a class of the data."""
    index = match_classes(model.classes, data)
    readable, rows, bad = [], [], list(data.bad)
    for done, prediction in enumerate(model.look(data.pictures, tta=tta, batch=batch), 1):
        if prediction.probabilities is None:
            bad.append((prediction.picture.name, prediction.reason))
        else:
            readable.append(done - 1)
            rows.append(prediction.probabilities)
        pulse("pictures", done, len(data.pictures))
    if not rows:
        fix = "give whole photographs"
        raise mistake(
            data.data,
            f"none of {len(bad):,} files is an image (first: {bad[0][0]}: {bad[0][1]})",
            fix,
        )
    truth = np.array([index[data.labels[k]] for k in readable], np.int64)
    return Answers(tuple(data.pictures[k] for k in readable), np.stack(rows), truth, tuple(bad))


def evaluate(model: Classifier, data: Labelled, answers: Answers, tta: Tta = "none") -> Evaluated:
    """Compute the metrics of the model's predictions on `data`."""
    names, probabilities, truth = model.classes, answers.probabilities, answers.truth
    predicted = probabilities.argmax(1)
    correct = predicted == truth
    rows = np.arange(len(truth))
    true_probability = probabilities[rows, truth]
    rank = (probabilities > true_probability[:, None]).sum(1)
    confidence = probabilities[rows, predicted]
    bins = tuple(_bins(confidence, correct))
    pairs = Counter(zip(truth[~correct].tolist(), predicted[~correct].tolist(), strict=True))
    by_confidence = sorted(
        np.flatnonzero(~correct).tolist(), key=lambda k: (-confidence[k], answers.pictures[k].name)
    )
    return Evaluated(
        model=model.file.name,
        model_sha256=model.file.weights_sha256,
        licence=model.file.licence,
        caveats=model.file.caveats,
        data=data.data,
        split=data.split,
        tta=tta,
        top1=share(int(correct.sum()), len(correct)),
        top5=share(int((rank < 5).sum()), len(correct)),
        loss_nats=float(-np.log(np.maximum(true_probability, np.finfo(np.float64).tiny)).mean()),
        ece_pct=sum(item.images * abs(item.accuracy_pct - item.confidence_pct) for item in bins)
        / len(correct),
        outputs=len(names),
        classes=tuple(_by_class(names, truth, predicted)),
        bins=bins,
        confusions=tuple(
            Confusion(true=names[t], said=names[s], images=n) for (t, s), n in pairs.most_common()
        ),
        mistakes=tuple(
            Mistake(
                name=answers.pictures[k].name,
                true=names[truth[k]],
                said=names[predicted[k]],
                probability=float(confidence[k]),
                true_probability=float(true_probability[k]),
            )
            for k in by_confidence
        ),
        bad=answers.bad,
        notes=data.notes,
    )


def _by_class(
    names: Sequence[str], truth: NDArray[np.int64], predicted: NDArray[np.int64]
) -> Iterator[ClassScore]:
    for k in np.unique(truth).tolist():
        of_class = truth == k
        recall = share(int((predicted[of_class] == k).sum()), int(of_class.sum()))
        yield ClassScore(name=names[k], recall=recall, named=int((predicted == k).sum()))


def _bins(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> Iterator[Bin]:
    bin_index = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    for k in range(BINS):
        in_bin = bin_index == k
        count = int(in_bin.sum())
        mean, accuracy = (
            100 * float(values[in_bin].mean()) if count else 0.0 for values in (confidence, correct)
        )
        yield Bin(
            low=k / BINS,
            high=(k + 1) / BINS,
            images=count,
            confidence_pct=mean,
            accuracy_pct=accuracy,
        )
