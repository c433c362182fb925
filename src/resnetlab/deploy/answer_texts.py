"""Words for predictions that a model is not sure of. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

UNSURE_PROBABILITY = 0.5
"""Probability of the first class below which a prediction is called unsure: the other classes are
then more probable together.
"""


def describe_doubt(probability: float, num_classes: int) -> str:
    """Return a sentence about a prediction that the model is not sure of, or "" for any other.

    Args:
        probability: Probability of the first class, from 0 to 1.
        num_classes: Number of classes of the model.
    """
    if probability >= UNSURE_PROBABILITY:
        return ""
    return (
        f"The model is not sure: it gives its first answer a probability of only "
        f"{100 * probability:.0f} %. The answer may be wrong, or the photograph may show none of "
        f"the {num_classes:,} classes."
    )


AnswerKind = Literal["class", "several classes", "no class", "none of these"]
"""Kind of an answer: one class, a prediction set of another size, or an unknown photograph."""


def answer_kind(prediction_set: Sequence[str] | None, none_of_these: bool | None) -> AnswerKind:
    """Return the kind of the answer for a photograph.

    Args:
        prediction_set: Classes of the prediction set, or None without a coverage.
        none_of_these: True for a photograph unlike the training photographs; None if unknown.
    """
    if none_of_these:
        return "none of these"
    if prediction_set is None or len(prediction_set) == 1:
        return "class"
    return "several classes" if prediction_set else "no class"


def describe_unknown(label: str, probability: float) -> str:
    """Return a sentence about a photograph unlike the training photographs.

    Args:
        label: Most probable class.
        probability: Its probability, from 0 to 1.
    """
    return (
        f"None of these: the photograph is unlike those that the model was trained on. Of its "
        f"classes, {label} would be the most probable one ({100 * probability:.0f} %)."
    )
