"""Share of a study's time that is neither training nor evaluation.

Run `python benchmarks/overhead.py [STUDY [SEEDS]]`. It runs `resnetlab study run STUDY --seeds
SEEDS` in a temporary folder (by default `digits`, with seeds for twenty minutes on two cores), and
reads the times of training and evaluation from the records. The rest is start-up, planning, time
between runs, idle workers, and reports. It prints a table, writes `benchmarks/overhead.json`, and
exits with 1 above the limit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine

import resnetlab as rl
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.executors.base import Job
from resnetlab.studies.executors.local import LocalExecutor

LIMIT_PCT = 3.0


def main(study: str = "digits", seeds: str = "126") -> int:
    """Measure, print, write; return the exit code."""
    with tempfile.TemporaryDirectory() as place:
        root, about = Path(place), machine()
        began, clock = time.monotonic(), time.time()
        command = [
            sys.executable,
            "-m",
            "resnetlab",
            "study",
            "run",
            study,
            "--seeds",
            seeds,
            "--output",
            place,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - began
        plan = rl.load_study(study, seeds=int(seeds)).plan(root)
        workers = LocalExecutor(root, rl.Placement()).max_parallel(
            [Job(run.id, run.file) for run in plan.runs]
        )
        folders = [RunFolder.find(root, run.id) for run in plan.runs]
        results = [result for folder in folders if (result := folder.result())]
        first = min((folder.path / "run.json").stat().st_mtime for folder in folders)
        last = max((folder.path / "result.json").stat().st_mtime for folder in folders)
    seconds = {
        name: sum(getattr(result, f"{name}_seconds") for result in results)
        for name in ("train", "evaluation")
    }
    seconds["before the first run"] = workers * (first - clock)
    seconds["after the last run"] = workers * (wall - (last - clock))
    seconds["between"] = workers * wall - sum(seconds.values())
    for name, each in seconds.items():
        print(f"{each:8.1f} s  {100 * each / (workers * wall):5.2f} %  {name}")
    beside = 100 * (1 - (seconds["train"] + seconds["evaluation"]) / (workers * wall))
    print(
        f"{len(results)} runs on {workers} workers in {wall:.0f} s: {beside:.2f} % beside "
        "training and evaluation"
    )
    result = {
        **about,
        "command": " ".join(["resnetlab", *command[3:-2]]),
        "runs": len(results),
        "workers": workers,
        "wall_seconds": round(wall, 1),
        "worker_seconds": {name: round(each, 1) for name, each in seconds.items()},
        "beside_pct": round(beside, 2),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    return int(beside > LIMIT_PCT)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
