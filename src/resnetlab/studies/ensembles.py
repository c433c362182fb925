"""Runs that answer together: what a study asks of its runs and no claim judges. Free of torch."""

from __future__ import annotations

from resnetlab.schema import spec


@spec
class Ensemble:
    """The mean of the probabilities of several runs: of all seeds of a condition, and of one run of each condition."""

    says: str = ""
    """What a source says of it."""
    source: str = ""
    of: tuple[str, ...]
    """Labels of conditions; in a file, axes that pick them."""
