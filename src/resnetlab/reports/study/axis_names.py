"""Names of the axes of a grid of conditions, in English and in French."""

from __future__ import annotations

_AXIS_NAMES = {
    "lr": ("learning rate", "pas d'apprentissage"),
    "batch_size": ("batch size", "taille de mini-batch"),
}
"""Names that are not the words of the field's name."""


def axis_names(axis: str) -> tuple[str, str]:
    """Return the name of an axis in English and in French: that of its last part."""
    last = axis.rsplit(".", 1)[-1]
    return _AXIS_NAMES.get(last, (last.replace("_", " "),) * 2)
