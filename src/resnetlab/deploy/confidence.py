"""Words for predictions that a model is not sure of. Does not import torch."""

from __future__ import annotations

UNSURE_PROBABILITY = 0.5
"""Probability of the first class below which a prediction is called unsure: the other classes are
then more probable together.
"""


def describe_doubt(probability: float, classes: int) -> str:
    """Return a sentence about a prediction that the model is not sure of, or "" for any other.

    Args:
        probability: Probability of the first class, from 0 to 1.
        classes: Number of classes of the model.
    """
    if probability >= UNSURE_PROBABILITY:
        return ""
    return (
        f"The model is not sure: it gives its first answer a probability of only "
        f"{100 * probability:.0f} %. The answer may be wrong, or the photograph may show none of "
        f"the {classes:,} classes."
    )
