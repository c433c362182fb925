"""Description of the machine on which a benchmark ran."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.provenance import provenance_event

LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")

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
    """Return the time, commit, packages and processor, and the load before the benchmark.

    Clouds hide the name of a processor, so its family and model are there too. `limited_by` has the
    environment variables by which a processor acts as one with fewer instructions.
    """
    line = provenance_event("benchmark", 0, Numerics(device="cpu", threads=1), "")
    return {
        **{name: line[name] for name in NAMES},
        "processor_model": processor_model(),
        "limited_by": {name: os.environ[name] for name in LIMITS if name in os.environ},
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def processor_model() -> str:
    """Return family and model of the processor as Linux numbers them, or empty."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return ""
    fields = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return f"family {fields.get('cpu family', '?')}, model {fields.get('model', '?')}"
