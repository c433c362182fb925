"""Labels that are probably wrong: ranking by out-of-fold probabilities, and their share.

Free of torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resnetlab.curation.labeled_photos import LabeledPhotos
from resnetlab.curation.probe import label_log_odds, out_of_fold
from resnetlab.curation.results import Suspect, SuspectReport
from resnetlab.errors import escape_controls
from resnetlab.messages import ItemCallback, silent
from resnetlab.stats.label_noise import estimate_label_noise

METHOD = (
    "Each photograph is judged by logistic regressions on frozen features that were fitted without "
    "it, without its near copies and without its group; labels that a first pass finds wrong are "
    "in no fit (Northcutt et al. 2021, Confident learning). The ranking is by the odds of the "
    "label against the most probable other class. The share of wrong labels is read off the half "
    "of the photographs of which the classifier is most confident (Liu and Tao 2016); its 95 % "
    "interval is exact (Clopper and Pearson 1934) and covers that the errors which the classifier "
    "expects of itself are wrong labels or not."
)
"""Method in sentences, for a page."""


def find_suspects(
    labeled: LabeledPhotos,
    features: NDArray[np.float32],
    model: str,
    *,
    on_item: ItemCallback = silent,
) -> SuspectReport:
    """Rank the photographs of a folder by the doubt about their labels.

    Args:
        labeled: Photographs (N) with their labels and groups.
        features: Frozen features (N, F).
        model: Name of the network that computed them.
        on_item: Callback for the progress.

    Returns:
        The suspects, the most suspicious first, and the estimated share of wrong labels.
    """
    labels = labeled.labels
    result = out_of_fold(features, labels, labeled.classes, labeled.groups, on_item=on_item)
    probabilities, predicted = result.probabilities, np.flatnonzero(result.is_predicted)
    noise = estimate_label_noise(probabilities[predicted], labels[predicted])
    odds = label_log_odds(probabilities, labels)
    order = predicted[np.argsort(odds[predicted], kind="stable")]
    suspects = [_describe(labeled, probabilities, k) for k in order if odds[k] < 0]
    rows = labeled.photos.rows
    unjudged = tuple(escape_controls(rows[k].path) for k in np.flatnonzero(~result.is_predicted))
    return SuspectReport(
        data=labeled.name,
        model=model,
        images=len(labels),
        classes=labeled.classes,
        suspects=tuple(suspects),
        agreement_pct=100 * float((odds[predicted] >= 0).mean()),
        wrong_pct=100 * noise.share,
        wrong_low_pct=100 * noise.interval.low,
        wrong_high_pct=100 * noise.interval.high,
        unjudged=unjudged,
    )


def _describe(labeled: LabeledPhotos, probabilities: NDArray[np.float64], index: int) -> Suspect:
    row, label = labeled.photos.rows[index], int(labeled.labels[index])
    suggested = int(probabilities[index].argmax())
    return Suspect(
        path=row.path,
        split=row.split or "",
        label=labeled.classes[label],
        suggested=labeled.classes[suggested],
        label_probability=float(probabilities[index, label]),
        suggested_probability=float(probabilities[index, suggested]),
    )
