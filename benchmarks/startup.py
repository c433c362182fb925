"""Start-up time of the commands.

Run `python benchmarks/startup.py`. Every command runs in fresh processes, five times, in turn with
`python -c "import torch"`, which is most of the cost of a command and to which it is compared. It
prints the medians, writes `benchmarks/startup.json`, and exits with 1 if a limit is exceeded.
`--only predict` runs the commands whose names begin with `predict`. It replaces their rows in the
file and keeps the others; a row that was measured alone has the machine, the commit and the import
of torch of its own measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from PIL import Image

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.model_folder.model_file import License, ModelFile
from resnetlab.model_folder.store import save_model_folder
from resnetlab.models.build import build_model
from resnetlab.models.registry import get_model_config

ROUNDS = 5
TORCH = 'python -c "import torch"'

FIRST_SECONDS, FIRST_RATIO = 0.5, 0.17
"""Until the first line: no more than the larger of so many seconds and that share of the import of
torch.
"""

END_SECONDS, END_RATIO = 0.3, 0.1
"""From the last line to the prompt, likewise."""

BEGUN = "study run digits, until it trains"


@dataclass(frozen=True)
class Case:
    """Command with the most time that it may take, as a multiple of the import of torch."""

    words: tuple[str, ...]
    limit: float | None = None
    """None: it trains or computes for long, so that only the first line and the end are held to a
    limit.
    """
    codes: tuple[int, ...] = (0,)
    fresh: bool = False
    """In a folder of its own each time."""


CASES = {
    "--help": Case(("--help",), 0.15),
    "--version": Case(("--version",), 0.15),
    "study list": Case(("study", "list"), 0.3),
    "study check digits": Case(("study", "check", "digits"), 0.3),
    "models": Case(("models",), 0.3),
    "judge": Case(("judge", "runs.csv", "--claim", "A > B"), 0.8),
    "judge nosuch.csv": Case(("judge", "nosuch.csv"), 0.3, (2,)),
    "data check": Case(("data", "check", "photos"), 0.3),
    "study plan digits": Case(("study", "plan", "digits", "--no-timing"), 0.5, fresh=True),
    "study status digits": Case(("study", "status", "digits"), 0.3),
    "finetune nosuch": Case(("finetune", "nosuch"), 0.3, (2,)),
    "predict nosuch x.jpg": Case(("predict", "nosuch", "x.jpg"), 0.3, (2,)),
    "inspect model cifar-resnet8": Case(("inspect", "model", "cifar-resnet8"), 1.5),
    "predict": Case(("predict", "pets", "photo.jpg"), 1.5),
    "explain": Case(("explain", "pets", "photo.jpg"), 1.6),
    "evaluate": Case(("evaluate", "pets", "photos"), 1.8),
    "train one epoch of digits": Case(
        ("train", "cifar-resnet20", "--data", "digits", "--recipe", "digits", "--epochs", "1"),
        2.3,
        fresh=True,
    ),
    BEGUN: Case(("study", "run", "digits"), 2.3, (0, 130), fresh=True),
}


@dataclass(frozen=True)
class Timed:
    """Seconds of a process: wall, processor with its children, until its first line, from the last
    one to its end.
    """

    wall: float
    cpu: float
    first: float
    end: float
    code: int


def main() -> int:
    """Measure, print, write; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="measure the commands that begin so")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    cases = {name: case for name, case in CASES.items() if name.startswith(options.only)}
    details = machine()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        prepare(root)
        timed: dict[str, list[Timed]] = {name: [] for name in (TORCH, *cases)}
        for number in range(options.rounds):
            timed[TORCH].append(run([sys.executable, "-c", "import torch"], root))
            for name, case in cases.items():
                timed[name].append(measured(name, case, root, number))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    rows, broken = judged(timed, cases)
    show(rows)
    for line in broken:
        print(line)
    details |= {
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "rounds": options.rounds,
    }
    path = Path(__file__).with_suffix(".json")
    written = details | {"commands": rows}
    if options.only:
        written = with_rows(json.loads(path.read_text()), rows, details)
    path.write_text(json.dumps(written, indent=1) + "\n")
    return int(bool(broken))


def with_rows(
    file: dict[str, Any], rows: dict[str, dict[str, object]], details: dict[str, Any]
) -> dict[str, Any]:
    """Return a file with other rows of some commands, each with the details of its measurement."""
    alone = {"measured": details, "torch": rows[TORCH]}
    merged = file["commands"] | {name: rows[name] | alone for name in rows if name != TORCH}
    ordered = {name: merged[name] for name in (TORCH, *CASES) if name in merged}
    return file | {"commands": ordered}


def prepare(root: Path) -> None:
    """Make a small model, a small folder of photographs and a planned study."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for name in ("cat", "dog", "owl"):
            for number in range(count):
                path = root / "photos" / split / name / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(generator.integers(0, 256, (120, 160, 3), np.uint8)).save(path)
    shutil.copy(root / "photos" / "test" / "cat" / "0.jpg", root / "photo.jpg")
    runs = [f"{name},{seed},{90 + seed}" for name in "AB" for seed in range(5)]
    (root / "runs.csv").write_text("\n".join(["model,seed,accuracy", *runs]) + "\n")
    config = get_model_config("cifar-resnet20", "benchmark", "")
    module = build_model(config, 3, 3, lambda name: torch.Generator().manual_seed(len(name)))
    view = EvalTransform(size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    classes = ("cat", "dog", "owl")
    save_model_folder(
        root / "pets",
        module,
        ModelFile(
            name="pets",
            model=config,
            classes=classes,
            eval_transform=view,
            license=License(name="MIT"),
        ),
    )
    run([*program(), "study", "report", "digits"], root)


def program() -> list[str]:
    """Return the command line of this working tree."""
    return [sys.executable, "-m", "resnetlab"]


def measured(name: str, case: Case, root: Path, number: int) -> Timed:
    """Time one process of a command. Raises RuntimeError if it ends with another exit code."""
    folder = root
    if case.fresh:
        folder = root / f"{list(CASES).index(name)}-{number}"
        folder.mkdir()
    begun = (lambda: any(folder.glob("runs/*/metrics.jsonl"))) if name == BEGUN else None
    found = run([*program(), *case.words], folder, begun)
    if found.code not in case.codes:
        print(f"{name}: ended with {found.code}", file=sys.stderr)
    return found


def run(words: list[str], folder: Path, until: Callable[[], bool] | None = None) -> Timed:
    """Run a process to its end, or stop it when `until()` is true."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}
    began = time.monotonic()
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    stamps: list[float] = []

    def read(stream: int) -> None:
        while os.read(stream, 65536):
            stamps.append(time.monotonic())

    reader = threading.Thread(target=read, args=(process.stdout.fileno(),))
    reader.start()
    reached = 0.0
    if until is not None:
        while not until() and process.poll() is None:
            time.sleep(0.01)
        reached = time.monotonic()
        process.send_signal(signal.SIGINT)
    _, status, usage = os.wait4(process.pid, 0)
    ended = time.monotonic()
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    first, last = (stamps[0], stamps[-1]) if stamps else (ended, ended)
    return Timed(
        wall=(reached or ended) - began,
        cpu=usage.ru_utime + usage.ru_stime,
        first=first - began,
        end=max(0.0, ended - last) if not reached else 0.0,
        code=process.returncode,
    )


def judged(
    timed: dict[str, list[Timed]], cases: dict[str, Case]
) -> tuple[dict[str, dict[str, object]], list[str]]:
    """Return the medians of each command, and a line for each limit that is exceeded."""
    torch_wall = median(timed[TORCH], "wall")
    torch_cpu = median(timed[TORCH], "cpu")
    rows: dict[str, dict[str, object]] = {}
    broken = []
    for name, values in timed.items():
        wall, cpu, first, end = (median(values, field) for field in ("wall", "cpu", "first", "end"))
        case = cases.get(name, Case(()))
        ratio = wall / torch_wall
        rows[name] = {
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(cpu, 3),
            "first_line_seconds": round(first, 3),
            "end_seconds": round(end, 3),
            "wall_of_torch": round(ratio, 3),
            "cpu_of_torch": round(cpu / torch_cpu, 3),
            "limit_of_torch": case.limit,
            "codes": sorted({one.code for one in values}),
            "each": [
                {key: round(value, 3) for key, value in asdict(one).items()} for one in values
            ],
        }
        if name == TORCH:
            continue
        if any(one.code not in case.codes for one in values):
            broken.append(f"{name}: ended with {rows[name]['codes']}, not with {list(case.codes)}")
        if case.limit is not None and ratio > case.limit:
            broken.append(f"{name}: {ratio:.2f} x the import of torch, at most {case.limit:g}")
        if first > max(FIRST_SECONDS, FIRST_RATIO * torch_wall):
            broken.append(f"{name}: the first line after {first:.2f} s, at most {FIRST_SECONDS} s")
        if end > max(END_SECONDS, END_RATIO * torch_wall):
            broken.append(
                f"{name}: the prompt {end:.2f} s after the last line, at most {END_SECONDS} s"
            )
    return rows, broken


def median(collected: list[Timed], field: str) -> float:
    """Return the median over the rounds."""
    return statistics.median(getattr(one, field) for one in collected)


def show(rows: dict[str, dict[str, object]]) -> None:
    """Return the table as text."""
    heads = ("wall s", "CPU s", "first line s", "to prompt s", "x torch", "limit")
    print(f"{'':36}" + "".join(f"{head:>13}" for head in heads))
    for name, row in rows.items():
        limit = "" if row["limit_of_torch"] is None else f"{row['limit_of_torch']:g}"
        keys = ("wall_seconds", "cpu_seconds", "first_line_seconds", "end_seconds", "wall_of_torch")
        print(f"{name:36}" + "".join(f"{row[key]:13.2f}" for key in keys) + f"{limit:>13}")


if __name__ == "__main__":
    sys.exit(main())
