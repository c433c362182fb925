"""Frozen part of a network, as an option names it. Free of torch."""

from __future__ import annotations

from typing import Literal

from resnetlab.errors import input_error

Freeze = Literal["backbone", "none"] | int
"""Frozen part: everything but the classifier, nothing, or a number of first parts."""


def parse_freeze(text: str) -> Freeze:
    """Parse the value of `--freeze`. Raises InputError if it is none of these."""
    if text == "backbone":
        return "backbone"
    if text == "none":
        return "none"
    if text.isdecimal():
        return int(text)
    allowed = "backbone, none, a number of parts"
    raise input_error("--freeze", "unknown", "--freeze backbone", got=text, allowed=allowed)
