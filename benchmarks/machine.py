"""Description of the machine on which a benchmark ran."""

from __future__ import annotations

import os
from typing import Any

from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.provenance import provenance_event

NAMES = (
    "time",
    "commit",
    "dirty",
    "python",
    "platform",
    "processor",
    "instruction_set",
    "packages",
)


def machine() -> dict[str, Any]:
    """Return the time, commit, packages and processor, and the load before the benchmark."""
    line = provenance_event("benchmark", 0, Numerics(device="cpu", threads=1), "")
    return {
        **{name: line[name] for name in NAMES},
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
