"""Estimate how long each study of the catalog takes on this machine, and write the estimates into
the catalog (`src/resnetlab/catalog/durations.json`), from which `study show` reads them.

    PYTHONPATH=src .venv/bin/python benchmarks/durations.py [STUDY ...]

A study's estimate is that of `study plan`: a few timed training steps and an evaluation of each of
its networks. It takes about ten minutes and refuses a machine whose load is 1 or more, on which
times mean nothing. With names it measures these studies only, and keeps the other estimates of the
same machine. Studies of photographs are not timed, and are left out.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from resnetlab.schema import decode
from resnetlab.studies.parsing.toml_tables import catalog_names, read_named
from resnetlab.studies.timing.catalog_durations import DURATIONS_FILE, Durations
from resnetlab.training.hardware import read_cpuinfo

CATALOG = Path(__file__).resolve().parents[1] / "src" / "resnetlab" / "catalog"
MAX_LOAD = 1.0


def planned_seconds(name: str, *options: str) -> float | None:
    """Return the seconds that `study plan` expects for a study; None if it cannot tell."""
    words = [sys.executable, "-m", "resnetlab", "study", "plan", name, "--json", *options]
    with tempfile.TemporaryDirectory() as empty:  # no past run may shorten a study
        words += ["--output", empty]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name}: left out: {done.stderr.strip()[:200]}")
        return None
    seconds: float | None = json.loads(done.stdout)["wall_seconds"]
    if seconds is None:
        print(f"{name}: left out: no estimate: {done.stderr.strip()[:200]}")
    return seconds


def main() -> None:
    """Measure every study and its variants, and write the file."""
    if os.getloadavg()[0] >= MAX_LOAD:
        sys.exit(f"the load is {os.getloadavg()[0]:.1f}; wait until it is below {MAX_LOAD:g}")
    names = sys.argv[1:] or catalog_names("studies")
    past = json.loads((CATALOG / DURATIONS_FILE).read_text(encoding="utf-8"))
    same_machine = past["machine"] == read_cpuinfo()[0]
    seconds = past["seconds"] if sys.argv[1:] and same_machine else {}
    for name in names:
        variants: dict[str, tuple[str, ...]] = {name: ()}
        for table in ("budget", "evidence"):
            if table in read_named("studies", name, "study")[0]:
                variants[f"{name}-{table}"] = (f"--{table}",)
        for variant, options in variants.items():
            if estimate := planned_seconds(name, *options):
                seconds[variant] = round(estimate)
                print(f"{variant}: {estimate / 3600:.2f} h")
    table = {
        "machine": read_cpuinfo()[0],
        "cores": os.cpu_count(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "torch": importlib.metadata.version("torch"),
        "seconds": dict(sorted(seconds.items())),
    }
    decode(Durations, table, DURATIONS_FILE)
    (CATALOG / DURATIONS_FILE).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
