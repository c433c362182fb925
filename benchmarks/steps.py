"""Speed of training on the CPU, compared with loops as people write them (`make bench`).

Every contender is a process of its own. They train in a round robin, one window each, so that a
machine that becomes slower does so for all, and the medians of the windows are compared. Writes
`latest.json`, or `latest-avx2.json` where torch uses AVX2, and a dated page. `--only WORD` runs the
cells whose name contains the word, and writes nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine

from resnetlab.recipes.numerics import available_cpus

HERE = Path(__file__).resolve().parent
WINDOW_SECONDS = 3.0
WINDOWS = 5

CELLS = [
    (depth, batch, shape)
    for shape in ("cifar10", "digits")
    for depth in (20, 56)
    for batch in (32, 128)
]

CONTENDERS = {
    "stock-w0": "stock loop, its images made in the same process",
    "stock-w2": "stock loop, 2 workers make its images",
    "tuned-w2": "tuned loop: bf16 if the processor multiplies it, channels-last, workers that stay",
    "timm-w2": "loop of timm's train.py with its loader, optimizer and meters, 2 workers; fp32",
    "one-fp32": "resnetlab, fp32, one run on all cores",
    "one-auto": "resnetlab as it comes, one run on all cores",
    "study-fp32": "resnetlab, fp32, a study: a run a core",
    "study-auto": "resnetlab as it comes, a study: a run a core",
}

RATIOS = {
    "stock": ("one-auto", "stock"),
    "tuned": ("one-auto", "tuned-w2"),
    "timm": ("one-auto", "timm-w2"),
    "stock_fp32": ("one-fp32", "stock"),
    "study_stock": ("study-auto", "stock"),
    "study_tuned": ("study-auto", "tuned-w2"),
    "study_timm": ("study-auto", "timm-w2"),
    "study_stock_fp32": ("study-fp32", "stock"),
    "study_one": ("study-auto", "one-auto"),
}
"""Of rates; `stock` is the faster of the two stock loops."""


NOTE = (
    "`study` runs one run a core, each in one thread; `one` is one run on all cores. As it comes, "
    "resnetlab takes bf16 where the processor multiplies it. `stock` is the faster of the two "
    "stock loops."
)


def cell_name(depth: int, batch: int, shape: str) -> str:
    """Return a name like `resnet20-b128`, with the shape unless it is CIFAR-10's."""
    return f"resnet{depth}-b{batch}" + ("" if shape == "cifar10" else f"-{shape}")


@dataclass
class Contender:
    """Processes of one contender, which all train in its windows."""

    processes: list[subprocess.Popen[str]]
    warm_up_seconds: float = 0.0
    """Time of the first window of two seconds, in which a compiler may work."""

    def window(self, seconds: float) -> float:
        """Return images per second of a window, summed over the processes."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        return sum(images / spent for images, spent in map(_answer, self.processes))


def _answer(process: subprocess.Popen[str]) -> tuple[float, float]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit(f"a contender ended: {process.args}")
    images, spent = map(float, line.split())
    return images, spent


def commands(
    names: Iterable[str], depth: int, batch: int, shape: str
) -> dict[str, list[list[str]]]:
    """Return the commands that start each contender, one for each process."""
    script = [sys.executable, str(HERE / "contender.py")]
    return {
        name: [[*script, name, str(depth), str(batch), shape]]
        * (available_cpus() if name.startswith("study") else 1)
        for name in names
    }


@contextmanager
def started(commands: Mapping[str, list[list[str]]]) -> Iterator[dict[str, Contender]]:
    """Start all contenders, warm them up one by one, and end them on exit."""
    contents: dict[str, Contender] = {}
    try:
        for name, each in commands.items():
            contents[name] = Contender(
                [
                    subprocess.Popen(
                        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                    )
                    for command in each
                ]
            )
        for name, contender in contents.items():
            for process in contender.processes:
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    sys.exit(f"a contender did not start: {name}")
        for contender in contents.values():
            began = time.monotonic()
            contender.window(2.0)
            contender.warm_up_seconds = time.monotonic() - began
        yield contents
    finally:
        for contender in contents.values():
            for process in contender.processes:
                process.kill()
                process.communicate()


def measure(
    commands: Mapping[str, list[list[str]]], warm_ups: dict[str, float] | None = None
) -> dict[str, list[float]]:
    """Return images per second by contender and window.

    Args:
        commands: Commands of each contender.
        warm_ups: Mapping that gets the seconds of each contender's first window.
    """
    rates: dict[str, list[float]] = {name: [] for name in commands}
    with started(commands) as processes:
        if warm_ups is not None:
            warm_ups |= {name: round(one.warm_up_seconds, 1) for name, one in processes.items()}
        order = list(processes)
        for window in range(WINDOWS):
            turn = window % len(order)
            for name in order[turn:] + order[:turn]:
                rates[name].append(processes[name].window(WINDOW_SECONDS))
    return rates


def ratios(rates: dict[str, list[float]]) -> dict[str, float]:
    """Return the ratios of medians, by the names of RATIOS."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    medians["stock"] = max(medians["stock-w0"], medians["stock-w2"])
    return {
        key: round(medians[ours] / medians[theirs], 2) for key, (ours, theirs) in RATIOS.items()
    }


def build_page(found: dict[str, dict[str, list[float]]], about: dict[str, Any], day: str) -> str:
    """Return the dated page with every ratio and every rate."""
    lines = [f"# Training steps on a processor, {day}", "", "Written by `make bench`.", ""]
    lines += [f"- {key}: {value}" for key, value in about.items() if key != "packages"]
    lines.append(
        "- packages: " + ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    )
    lines.append(
        f"- {WINDOWS} windows of {WINDOW_SECONDS:g} s a contender, in turns; medians, in "
        "brackets least and most"
    )
    lines += [
        "",
        "## Ratios of images per second",
        "",
        NOTE,
        "",
        *_head(f"{a} / {b}" for a, b in RATIOS.values()),
    ]
    for name, rates in found.items():
        lines.append(
            f"| {name} | " + " | ".join(f"{value:.2f}" for value in ratios(rates).values()) + " |"
        )
    lines += [
        "",
        "## Images per second",
        "",
        "| | " + " | ".join(CONTENDERS) + " |",
        "|---|" + "---:|" * len(CONTENDERS),
    ]
    for name, rates in found.items():
        shown = [
            f"{statistics.median(values):,.0f} [{min(values):,.0f}, {max(values):,.0f}]"
            for values in rates.values()
        ]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", *(f"- {key}: {value}" for key, value in CONTENDERS.items()), ""])


def _head(names: Iterable[str]) -> list[str]:
    contents = list(names)
    return ["| | " + " | ".join(contents) + " |", "|---|" + "---:|" * len(contents)]


def main() -> None:
    """Measure every cell, print the ratios and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--only", default="", help="a word that the cell's name holds: resnet20-b128"
    )
    only = arguments.parse_args().only
    about, found = machine(), {}
    for depth, batch, shape in CELLS:
        name = cell_name(depth, batch, shape)
        if only not in name:
            continue
        found[name] = measure(commands(CONTENDERS, depth, batch, shape))
        rates = {key: round(statistics.median(values)) for key, values in found[name].items()}
        print(name, ratios(found[name]), rates, sep="\n  ", flush=True)
    if only:
        return
    # A machine with AVX2 alone has files of its own, for its ratios differ.
    suffix = "-avx2" if about["instruction_set"] == "AVX2" else ""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    latest = {
        "ratios": {name: ratios(rates) for name, rates in found.items()},
        "images_per_second": found,
        "machine": about,
        "day": day,
        "window_seconds": WINDOW_SECONDS,
    }
    (HERE / f"latest{suffix}.json").write_text(json.dumps(latest, indent=1) + "\n")
    (HERE / f"{day}{suffix}.md").write_text(build_page(found, about, day))


if __name__ == "__main__":
    main()
