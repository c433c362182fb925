"""How far apart curves lie: a number that a study asks for and no claim judges. Free of torch."""

from __future__ import annotations

from typing import Literal

from resnetlab.schema import spec


@spec
class Distance:
    """Test curves of `left` and `right`, pair by pair, by the sum of their squared residuals."""

    says: str
    """What a source says of it."""
    source: str = ""
    left: tuple[str, ...]
    """Labels of conditions; in a file, axes that pick them."""
    right: tuple[str, ...]
    metric: Literal["top1", "loss"] = "top1"
