"""Distances between published learning curves, for the distances that a study measures.

Free of torch.
"""

from __future__ import annotations

from resnetlab.studies.study import Study
from resnetlab.translation import tr_count


def distance_sentences(study: Study) -> list[str]:
    """Return a sentence for each distance of a study, between the published mean curves of pairs.

    A distance is the sum over epochs of the squared difference of the means of the published runs.
    """
    curves: dict[tuple[str, str], tuple[tuple[float, ...], str]] = {
        (pair.condition, pair.value.quantity): (pair.value.mean_curve, pair.title)
        for pair in study.references
        if pair.value.run_curves
    }
    lines = []
    for distance in study.distances:
        is_loss = distance.metric == "loss"
        quantity, unit, digits = ("loss", "nats²", 4) if is_loss else ("accuracy", "points²", 1)
        parts: dict[tuple[str, int], list[str]] = {}
        for left, right in zip(distance.left, distance.right, strict=True):
            if (left, quantity) not in curves or (right, quantity) not in curves:
                continue
            (a, title), (b, _) = curves[left, quantity], curves[right, quantity]
            total = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
            text = f"{left} and {right} {total:.{digits}f} {unit}"
            parts.setdefault((title, len(a)), []).append(text)
        lines += [
            f"Published distance of the test {quantity}, {title} (sum over "
            f"{tr_count(epochs, 'epoch')} of the squared difference of the mean curves): "
            f"{'; '.join(texts)}."
            for (title, epochs), texts in parts.items()
        ]
    return lines
