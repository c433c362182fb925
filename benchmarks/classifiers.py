"""Accuracy of classifiers that three tools make of the same photographs in the same minutes.

Run `python benchmarks/classifiers.py --data DIR --model FILE.toml --fastai PYTHON`, where PYTHON is
the interpreter of an environment with fastai, and `--autogluon` that of one with AutoGluon.
Each folder has `train/CLASS` and `test/CLASS`; `--train-images 150` also makes a subset of each.
The tools are `resnetlab finetune` as it comes, fastai's `fine_tune` and AutoGluon MultiModal
(`medium_quality`), the latter two in an environment of their own. They get the same network with
the same weights, the same train images, two threads and the same time limit. Each has its own
validation split of them. One after another they are trained once for each seed, in turns, and
tested on the same images. It prints accuracies and paired differences, and writes
`benchmarks/classifiers.json` and `results/classifiers/report.md`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from resnetlab.stats.exact import mcnemar
from resnetlab.stats.intervals import clopper_pearson, mean, t_interval

HERE = Path(__file__).parent
TOOLS = ("resnetlab", "fastai", "autogluon")
THREADS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    options = parse(arguments)
    pythons = {tool: path for tool in TOOLS[1:] if (path := getattr(options, tool))}
    rows: list[dict[str, Any]] = []
    contents: dict[str, Any] = {
        **machine(),
        "minutes": options.minutes,
        "threads": THREADS,
        "seeds": options.seeds,
        "model": model_of(options.model),
        "other_packages": {tool: packages_of(path) for tool, path in pythons.items()},
        "rows": rows,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folders = [*options.data]
        for folder in options.data:
            folders += [subset(folder, count, Path(scratch)) for count in options.train_images]
        for folder in folders:
            labels = test_labels(folder)
            for seed in range(options.seeds):
                for tool in (TOOLS[0], *pythons):
                    python = pythons.get(tool, sys.executable)
                    row = measure(tool, python, folder, labels, seed, options, Path(scratch))
                    rows.append(row)
                    print(describe(row), flush=True)
                    write(contents, options.out)
    return int(any(row["error"] for row in rows))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--model", type=Path, required=True, help="TOML file of a timm network")
    for tool in TOOLS[1:]:
        parser.add_argument(f"--{tool}", metavar="PYTHON", help=f"Python that has {tool}")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-images", type=int, action="append", default=[])
    parser.add_argument("--out", type=Path, default=HERE.parent, help="root of the repository")
    return parser.parse_args(arguments)


def test_labels(folder: Path) -> dict[str, str]:
    """Return the class of each test photograph by its path in the folder."""
    paths = sorted(path for path in (folder / "test").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.parent.name for path in paths}


def subset(folder: Path, count: int, scratch: Path) -> Path:
    """Copy the test photographs and `count` train photographs, as many of each class, seed 0."""
    target = scratch / f"{folder.name}-{count}"
    shutil.copytree(folder / "test", target / "test")
    classes = sorted(path for path in (folder / "train").iterdir() if path.is_dir())
    generator = np.random.default_rng(0)
    for index, place in enumerate(classes):
        each = count // len(classes) + (index < count % len(classes))
        files = sorted(path for path in place.iterdir() if path.is_file())
        (target / "train" / place.name).mkdir(parents=True)
        for number in generator.permutation(len(files))[:each]:
            shutil.copy(files[number], target / "train" / place.name)
    return target


def measure(
    tool: str,
    python: str,
    folder: Path,
    labels: dict[str, str],
    seed: int,
    options: argparse.Namespace,
    scratch: Path,
) -> dict[str, Any]:
    """Train one classifier in a process of its own, and return its correct test photographs."""
    output = Path(tempfile.mkdtemp(dir=scratch))
    env = os.environ | {"OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"}
    start = time.monotonic()
    limit = f"{60 * options.minutes:g}"
    if tool == "resnetlab":
        command = [python, "-m", "resnetlab", "finetune", str(folder)]
        command += ["--model", str(options.model), "--time-limit", f"{limit}s", "--seed", str(seed)]
        command += ["--workers", str(THREADS), "--output", str(output)]
    else:
        command = [python, str(HERE / "other_classifiers.py"), tool, str(folder)]
        command += [str(options.model), limit, str(seed), str(output / "all.csv")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    seconds = time.monotonic() - start
    row = {
        "folder": folder.name,
        "tool": tool,
        "seed": seed,
        "images": len(labels),
        "seconds": round(seconds, 1),
        "correct": [],
        "error": "",
    }
    if done.returncode:
        return row | {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    return row | {"correct": correct_paths(tool, output, labels)}


def correct_paths(tool: str, output: Path, labels: dict[str, str]) -> list[int]:
    """Return the numbers of the test photographs that a tool classified correctly."""
    if tool == "resnetlab":
        (path,) = output.glob("reports/*/mistakes.csv")
        with path.open(encoding="utf-8", newline="") as file:
            wrong = {row["path"] for row in csv.DictReader(file)}
        assert wrong <= labels.keys(), "mistakes that are not test photographs"
        return [k for k, name in enumerate(labels) if name not in wrong]
    with (output / "all.csv").open(encoding="utf-8", newline="") as file:
        predicted = {row["path"]: row["predicted"] for row in csv.DictReader(file)}
    assert predicted.keys() == labels.keys(), "not every test photograph was predicted once"
    return [k for k, (name, label) in enumerate(labels.items()) if predicted[name] == label]


def describe(row: dict[str, Any]) -> str:
    """Return a line about one classifier."""
    start = f"{row['folder']:16} {row['tool']:10} seed {row['seed']}  {row['seconds']:6.0f} s  "
    if row["error"]:
        return start + row["error"]
    right, images = len(row["correct"]), row["images"]
    low, high = clopper_pearson(right, images)
    return start + f"{100 * right / images:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the first tool with each other one, on the same folder, seed and test photographs."""
    finished = {(r["folder"], r["tool"], r["seed"]): r for r in rows if not r["error"]}
    comparisons = []
    for folder in dict.fromkeys(row["folder"] for row in rows):
        for tool in [name for name in dict.fromkeys(r["tool"] for r in rows) if name != TOOLS[0]]:
            pairs = [
                (set(row["correct"]), set(finished[folder, tool, seed]["correct"]), row["images"])
                for (place, name, seed), row in finished.items()
                if (place, name) == (folder, TOOLS[0]) and (folder, tool, seed) in finished
            ]
            if not pairs:
                continue
            points = [100 * (len(a) - len(b)) / count for a, b, count in pairs]
            interval = t_interval(points)
            comparisons.append(
                {
                    "folder": folder,
                    "other": tool,
                    "points_by_seed": [round(value, 2) for value in points],
                    "mean_points": round(mean(points), 2),
                    "interval_points": interval and [round(value, 2) for value in interval],
                    "p_by_seed": [mcnemar(len(a - b), len(b - a)) for a, b, _ in pairs],
                }
            )
    return comparisons


def write(contents: dict[str, Any], root: Path) -> None:
    """Write the figures and the page with them."""
    contents = contents | {"comparisons": compare(contents["rows"])}
    (root / "benchmarks" / "classifiers.json").write_text(json.dumps(contents, indent=1) + "\n")
    page = root / "results" / "classifiers" / "report.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(page_lines(contents)) + "\n", encoding="utf-8")


def page_lines(contents: dict[str, Any]) -> list[str]:
    """Return the page in Markdown."""
    protocol = (
        f"Each tool had {contents['minutes']:g} minutes on {contents['threads']} threads for each "
        f"seed, the network `{contents['model']['source']}` with the same weights, and the same "
        "train photographs. `benchmarks/classifiers.py` makes this page, and `classifiers.json` "
        "beside it has every value."
    )
    origin = (
        f"Processor: {contents['processor']}; commit {contents['commit']}; {contents['time']}; "
        f"load before the start {contents['load']}."
    )
    lines = [
        "# Classifiers of photographs in the same minutes",
        "",
        protocol,
        "",
        origin,
        "",
        "| folder | tool | seed | test accuracy, % | seconds |",
        "|---|---|---:|---:|---:|",
    ]
    for row in contents["rows"]:
        right, images = len(row["correct"]), row["images"]
        low, high = clopper_pearson(right, images)
        text = f"{100 * right / images:.1f} [{100 * low:.1f}, {100 * high:.1f}] of {images}"
        text = row["error"] or text
        lines.append(
            f"| {row['folder']} | {row['tool']} | {row['seed']} | {text} | {row['seconds']:.0f} |"
        )
    method = (
        "resnetlab minus the other tool, paired by seed and test photograph. The interval over "
        "seeds is Student's; p is McNemar's exact one for each seed."
    )
    lines += [
        "",
        method,
        "",
        "| folder | other tool | mean difference, points | by seed | p by seed |",
        "|---|---|---:|---|---|",
    ]
    for item in contents["comparisons"]:
        interval = item["interval_points"]
        about = f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else ""
        seeds = ", ".join(f"{value:+.1f}" for value in item["points_by_seed"])
        values = ", ".join(f"{value:.2g}" for value in item["p_by_seed"])
        lines.append(
            f"| {item['folder']} | {item['other']} | {item['mean_points']:+.1f}{about} | {seeds} | "
            f"{values} |"
        )
    return lines


def model_of(path: Path) -> dict[str, Any]:
    """Return the network of a TOML file, without the path of its weights."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in table.items() if key != "weights"}


def packages_of(python: str) -> dict[str, str]:
    """Return the versions of the packages in the environment of another tool."""
    code = (
        "import importlib.metadata as m, json; "
        "names = {d.metadata['Name'] for d in m.distributions()}; "
        "keys = ('torch', 'timm', 'fastai', 'autogluon.multimodal'); "
        "print(json.dumps({k: m.version(k) for k in keys if k in names}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


if __name__ == "__main__":
    sys.exit(main())
