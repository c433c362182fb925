"""Time of `study status` and `study report` by the number of runs.

Run `python benchmarks/scale.py`. It prints a table, writes `benchmarks/scale.json`, and exits with
1 if the cost per run grows with the number of runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fabricate import fabricate
from machine import machine

COUNTS = (10, 100, 300, 1000)
TRIES = 3
LIMITS = {"status": 0.5, "report": 15.0}
"""Seconds at the largest count."""
LINEAR = 1.5
"""How many times as much a run may cost among the last ones as among the first."""


def main() -> int:
    """Measure, print, write; return the exit code."""
    rows = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as root:
            folder = fabricate(Path(root), count)
            rows.append(
                {
                    "runs": count,
                    **{name: value for verb in LIMITS for name, value in taken(verb, folder)},
                }
            )
        text = ", ".join(
            f"{verb} {rows[-1][verb]:.2f} s ({rows[-1][f'{verb} cpu']:.2f} s of CPU)"
            for verb in LIMITS
        )
        print(f"{count:5} runs: {text}", flush=True)
    problems = [problem for verb, limit in LIMITS.items() for problem in judged(verb, limit, rows)]
    record = {**machine(), "tries": TRIES, "seconds": rows, "problems": problems}
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(problems) or "within the limits, and linear in runs")
    return 1 if problems else 0


def taken(verb: str, folder: Path) -> list[tuple[str, float]]:
    """The median seconds of a command, started as a person starts it: of wall time, and of
    processor time.
    """
    wall, processor = [], []
    for _ in range(TRIES):
        began, before = time.monotonic(), os.times()
        subprocess.run(
            [sys.executable, "-m", "resnetlab", "study", verb, folder],
            check=True,
            capture_output=True,
        )
        wall.append(time.monotonic() - began)
        after = os.times()
        processor.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return [
        (verb, round(statistics.median(wall), 3)),
        (f"{verb} cpu", round(statistics.median(processor), 3)),
    ]


def judged(verb: str, limit: float, rows: list[dict[str, float]]) -> list[str]:
    """What is wrong with the times of a command: the limit is of wall time; processor time tells
    the shape.
    """
    first, middle, last = rows[0], rows[-2], rows[-1]
    cpu = f"{verb} cpu"
    early = (middle[cpu] - first[cpu]) / (middle["runs"] - first["runs"])
    late = (last[cpu] - middle[cpu]) / (last["runs"] - middle["runs"])
    text = (
        [f"{verb}: {last[verb]:.2f} s for {last['runs']:,} runs, over {limit} s"]
        if last[verb] > limit
        else []
    )
    if late > LINEAR * early:
        text.append(
            f"{verb}: a run costs {1e3 * early:.2f} ms among the first, {1e3 * late:.2f} ms "
            "among the last"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
