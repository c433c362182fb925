"""What of a study's time on its workers is neither training nor evaluation: `python benchmarks/overhead.py [STUDY]`.

Runs a study (`digits`, two seeds) in a temporary folder, and tells apart start-up (until the first look at a network),
what a run costs beside its training, and idle workers at the end: only the second grows with the study. From these it
foresees the share in twenty minutes of such runs, and of runs of a minute each. Partial reports are not in it: the
driver writes them within a fiftieth of the time, while workers go on. Prints a table, writes
`benchmarks/overhead.json`, and ends with 1 where the share of runs of a minute is above the limit.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from machine import machine

import resnetlab as rl
from resnetlab.runs.directory import RunDirectory
from resnetlab.studies.backends.local import LocalBackend
from resnetlab.studies.run import run_plan

SEEDS, LIMIT_PCT, LONG_SECONDS = 2, 3.0, 1200.0


def main(study: str = "digits") -> int:
    """Measure, print, write; the exit code."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        loaded = rl.load_study(study, seeds=SEEDS)
        plan = loaded.plan(root)
        backend = LocalBackend(root, rl.Placement())
        began, starts, ends = time.monotonic(), dict[str, float](), dict[str, float]()
        for event in run_plan(plan, root, backend, lambda: False):
            now = time.monotonic() - began
            if event.kind == "progress":
                starts.setdefault(event.id, now)
            elif event.kind == "finished":
                ends[event.id] = now
        whole = time.monotonic() - began
        results = [held for run in plan.runs if (held := RunDirectory.of(root, run.id).result())]
    workers = min(len(plan.runs), max(1, len({run for run, at in starts.items() if at < min(ends.values())})))
    training, evaluation = (sum(getattr(r, f"{what}_seconds") for r in results) for what in ("train", "evaluation"))
    starting = sum(sorted(starts.values())[:workers])
    idle = sum(whole - at for at in sorted(ends.values())[-workers:])
    beside = workers * whole - training - evaluation - starting - idle
    shares = {"training": training, "evaluation": evaluation, "starting": starting, "idle at the end": idle,
              "beside training, a run": beside}  # fmt: skip
    for what, seconds in shares.items():
        print(f"{seconds:8.1f} s  {100 * seconds / (workers * whole):5.1f} %  {what}")
    print(f"{len(results)} runs on {workers} workers in {whole:.0f} s")
    foreseen = {}
    for what, seconds in (("such runs", (training + evaluation + beside) / len(results)), ("runs of a minute", 60.0)):
        runs = workers * LONG_SECONDS / seconds
        share = 100 * (starting + idle + runs * beside / len(results)) / (workers * LONG_SECONDS)
        foreseen[what] = round(share, 2)
        print(f"foreseen of twenty minutes of {what}: {share:.1f} % beside training and evaluation")
    held = {**machine(), "study": study, "runs": len(results), "workers": workers, "wall_seconds": round(whole, 1)}
    held |= {
        "seconds": {what: round(seconds, 2) for what, seconds in shares.items()},
        "foreseen_pct": foreseen,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(held, indent=1) + "\n")
    return int(foreseen["runs of a minute"] > LIMIT_PCT)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
