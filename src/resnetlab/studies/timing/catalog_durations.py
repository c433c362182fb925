"""Estimated durations of the catalog's studies, as `benchmarks/durations.py` measured them.

Free of torch.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from resnetlab.messages import format_estimate
from resnetlab.schema import PositiveFloat, PositiveInt, decode, strict_dataclass

DURATIONS_FILE = "durations.json"
"""Name of the file in the catalog."""


@strict_dataclass
class Durations:
    """Estimates of one machine, from a few timed steps of each network."""

    machine: str
    """Name of the processor."""
    cores: PositiveInt
    date: str
    """Date of the measurement: `2026-11-29`."""
    torch: str
    """Version of torch."""
    seconds: dict[str, PositiveFloat]
    """Seconds of all runs of a study with their evaluations, by its name; of its variants by
    `NAME-budget` and `NAME-evidence`."""


@cache
def measured_durations() -> Durations | None:
    """Return the estimates of the catalog, or None before the first measurement.

    Raises InputError if the file is damaged.
    """
    path = resources.files("resnetlab.catalog") / DURATIONS_FILE
    if not path.is_file():
        return None
    durations: Durations = decode(
        Durations, json.loads(path.read_text(encoding="utf-8")), DURATIONS_FILE
    )
    return durations


def describe_duration(name: str) -> str:
    """Return the estimated duration of a study in words, with its machine and its date.

    Args:
        name: Name of the study.
    """
    here = f"resnetlab study plan {name} estimates it for this machine"
    durations = measured_durations()
    seconds = durations.seconds.get(name) if durations else None
    if durations is None or seconds is None:
        return f"no estimate in the catalog; {here}"
    text = (
        f"about {format_estimate(seconds)} on {durations.cores} cores of {durations.machine} "
        f"(timed on {durations.date})"
    )
    for variant in ("budget", "evidence"):
        if smaller := durations.seconds.get(f"{name}-{variant}"):
            text += f", its variant --{variant} about {format_estimate(smaller)}"
    return f"{text}; {here}"
