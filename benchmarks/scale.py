"""Time, memory and size of `study status`, `study plan` and `study report` by the number of runs.

Run `python benchmarks/scale.py`. It prints a table, writes `benchmarks/scale.json`, and exits with
1 above a limit, or if the cost per run grows with the number of runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fabricate import fabricate
from machine import machine

from resnetlab.studies.status_index import MIN_AGE_NS

COUNTS = (100, 1_000, 10_000)
TRIES = 2
"""Number of tries, of which the fastest counts; one of a plan or report of the most runs."""
LIMITS = {"status": 1.0, "report": 60.0}
"""Seconds at the largest count."""
MAX_PAGE_BYTES = 10_000_000
LAUNCHER = """
import json, os, subprocess, sys, time
began = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
if status:
    sys.exit(1)
cpu = used.ru_utime + used.ru_stime
print(json.dumps([time.monotonic() - began, cpu, used.ru_maxrss]))
"""
"""Program that measures a command. It is small: the system counts the memory of the process that
starts another as that of the other.
"""
LINEAR = 1.5
"""How many times as much a run may cost among the last ones as among the first."""

MIN_RUN_SECONDS = 1e-4
"""Seconds of a run below which a difference is noise."""


def main() -> int:
    """Measure, print, write; return the exit code."""
    about, rows = machine(), []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as root:
            folder = fabricate(Path(root), count)
            time.sleep(MIN_AGE_NS / 1e9)  # younger files are not indexed
            load = round(os.getloadavg()[0], 2)
            rows.append({"runs": count, "load": load, **measured(folder, count == COUNTS[-1])})
        print(json.dumps(rows[-1]), flush=True)
    problems = list(judged(rows))
    record = {**about, "tries": TRIES, "rows": rows, "limits": LIMITS, "problems": problems}
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(problems) or "within the limits, and linear in runs")
    return 1 if problems else 0


def measured(folder: Path, is_largest: bool) -> dict[str, float]:
    """Return the seconds and the memory of each command, and the size of the report's page."""
    root = folder.parents[1]
    study = root / "fabricated.toml"
    commands = {
        "first status": ("status", str(folder)),
        "status": ("status", str(folder)),
        "plan": ("plan", str(study), "--no-timing", "--output", str(root)),
        "report": ("report", str(folder)),
    }
    row: dict[str, float] = {}
    for name, words in commands.items():
        tries = []
        for _ in range(1 if is_largest and name in ("plan", "report") else TRIES):
            if name == "first status":
                shutil.rmtree(root / "cache" / "status", ignore_errors=True)
            tries.append(run(words))
        row |= {
            name: min(seconds for seconds, _, _ in tries),
            f"{name} cpu": min(cpu for _, cpu, _ in tries),
            f"{name} megabytes": max(megabytes for _, _, megabytes in tries),
        }
    return row | {"page bytes": (folder / "report.html").stat().st_size}


def run(words: tuple[str, ...]) -> tuple[float, float, int]:
    """Run a command as a person does. Return its seconds by the clock and of the processor, and
    its largest memory in megabytes.
    """
    command = [sys.executable, "-m", "resnetlab", "study", *words]
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], check=True, stdout=subprocess.PIPE
    )
    seconds, cpu, kilobytes = json.loads(done.stdout)
    return round(seconds, 3), round(cpu, 3), kilobytes // 1024


def judged(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield each limit that is exceeded. The limits are of the clock; the processor's time tells
    the shape.
    """
    first, middle, last = rows
    for name, limit in LIMITS.items():
        if last[name] > limit:
            yield f"{name}: {last[name]:.2f} s for {last['runs']:,} runs, over {limit} s"
    if last["page bytes"] > MAX_PAGE_BYTES:
        yield f"the page has {last['page bytes']:,} bytes, over {MAX_PAGE_BYTES:,}"
    for name in ("first status", "status", "plan", "report"):
        cpu = f"{name} cpu"
        early = (middle[cpu] - first[cpu]) / (middle["runs"] - first["runs"])
        late = (last[cpu] - middle[cpu]) / (last["runs"] - middle["runs"])
        if late > LINEAR * max(early, MIN_RUN_SECONDS):
            yield (
                f"{name}: a run costs {1e3 * early:.2f} ms among the first, {1e3 * late:.2f} ms "
                "among the last"
            )


if __name__ == "__main__":
    sys.exit(main())
