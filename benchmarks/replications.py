"""Repeat two runs of committed results on this machine, by `resnetlab verify`.

Run `python benchmarks/replications.py --data CIFAR10.npz RESULT...`, for example with
`results/ladder-evidence`. It writes into `replications.json` by the name of each folder: the runs
that were drawn, with the reported accuracy, the prediction interval and the accuracy of this
machine, and the machine itself. `python docs/measured.py` writes the table of `results/README.md`
from this file. A run that is not consistent is written too; then the script ends with 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from machine import machine


def main() -> int:
    """Repeat the runs, and write the file after each folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="folders of reports")
    parser.add_argument("--data", default="", help="data of the studies on this machine")
    options = parser.parse_args()
    all_consistent = True
    for folder in options.results:
        about = machine()
        command = [sys.executable, "-m", "resnetlab", "verify", str(folder), "--json"]
        command += ["--data", options.data] if options.data else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        answer = json.loads(done.stdout)
        all_consistent &= answer["all_consistent"]
        path = Path(__file__).with_suffix(".json")
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        record[folder.name] = {"machine": about, **answer}
        path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{folder}: {answer['num_consistent']} of {len(answer['replicated'])} consistent")
    return 0 if all_consistent else 1


if __name__ == "__main__":
    sys.exit(main())
