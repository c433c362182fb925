"""A model against labelled pictures: accuracy with its interval, by class, calibration, confusions, mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.deploy.asked import Tta, match_classes
from resnetlab.deploy.pictures import Labelled, Picture
from resnetlab.deploy.predict import BATCH, Classifier
from resnetlab.deploy.record import Bin, ClassScore, Confusion, Evaluated, Mistake, share
from resnetlab.errors import mistake

BINS = 15
"""Of equal width, over the probability of the most probable class (Guo et al. 2017, sec. 4)."""

Pulse = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Answers:
    """The probabilities (N, K) of the pictures that could be read, their true outputs (N,), and the bad files."""

    pictures: tuple[Picture, ...]
    probabilities: NDArray[np.float64]
    truth: NDArray[np.int64]
    bad: tuple[tuple[str, str], ...]


def answer(
    model: Classifier, data: Labelled, *, tta: Tta = "none", batch: int = BATCH, pulse: Pulse = lambda *_: None
) -> Answers:
    """Show the pictures of `data` to the model. Raises InputError when the model lacks a class of the data."""
    index = match_classes(model.classes, data)
    kept, rows, bad = [], [], list(data.bad)
    for done, seen in enumerate(model.look(data.pictures, tta=tta, batch=batch), 1):
        if seen.probabilities is None:
            bad.append((seen.picture.name, seen.reason))
        else:
            kept.append(done - 1)
            rows.append(seen.probabilities)
        pulse("pictures", done, len(data.pictures))
    if not rows:
        fix = "give whole photographs"
        raise mistake(data.data, f"none of {len(bad):,} files is an image (first: {bad[0][0]}: {bad[0][1]})", fix)
    truth = np.array([index[data.labels[k]] for k in kept], np.int64)
    return Answers(tuple(data.pictures[k] for k in kept), np.stack(rows), truth, tuple(bad))


def evaluate(model: Classifier, data: Labelled, found: Answers, tta: Tta = "none") -> Evaluated:
    """What the model's answers on `data` are worth."""
    names, probabilities, truth = model.classes, found.probabilities, found.truth
    said = probabilities.argmax(1)
    right = said == truth
    rows = np.arange(len(truth))
    true_probability = probabilities[rows, truth]
    rank = (probabilities > true_probability[:, None]).sum(1)
    confidence = probabilities[rows, said]
    bins = tuple(_bins(confidence, right))
    pairs = Counter(zip(truth[~right].tolist(), said[~right].tolist(), strict=True))
    surest = sorted(np.flatnonzero(~right).tolist(), key=lambda k: (-confidence[k], found.pictures[k].name))
    return Evaluated(
        model=model.file.name, model_sha256=model.file.weights_sha256, licence=model.file.licence,
        caveats=model.file.caveats, data=data.data, split=data.split, tta=tta,
        top1=share(int(right.sum()), len(right)), top5=share(int((rank < 5).sum()), len(right)),
        loss_nats=float(-np.log(np.maximum(true_probability, np.finfo(np.float64).tiny)).mean()),
        ece_pct=sum(one.images * abs(one.accuracy_pct - one.confidence_pct) for one in bins) / len(right),
        outputs=len(names), classes=tuple(_by_class(names, truth, said)), bins=bins,
        confusions=tuple(Confusion(true=names[t], said=names[s], images=n) for (t, s), n in pairs.most_common()),
        mistakes=tuple(
            Mistake(
                name=found.pictures[k].name, true=names[truth[k]], said=names[said[k]],
                probability=float(confidence[k]), true_probability=float(true_probability[k]),
            )
            for k in surest
        ),
        bad=found.bad, notes=data.notes,
    )  # fmt: skip


def _by_class(names: Sequence[str], truth: NDArray[np.int64], said: NDArray[np.int64]) -> Iterator[ClassScore]:
    for k in np.unique(truth).tolist():
        mine = truth == k
        recall = share(int((said[mine] == k).sum()), int(mine.sum()))
        yield ClassScore(name=names[k], recall=recall, named=int((said == k).sum()))


def _bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Iterator[Bin]:
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    for k in range(BINS):
        mine = place == k
        count = int(mine.sum())
        mean, accuracy = (100 * float(values[mine].mean()) if count else 0.0 for values in (confidence, right))
        yield Bin(low=k / BINS, high=(k + 1) / BINS, images=count, confidence_pct=mean, accuracy_pct=accuracy)
