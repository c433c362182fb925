"""Writes the table of docs/scale.md again from the committed results: `python docs/scale.py`."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

from resnetlab.models.parse import parse_model

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "degradation" / "results.csv"
DEPTHS, SHORTCUTS, SEEDS, EPOCHS, IMAGES = (
    (20, 32, 44, 56),
    ("plain", "residual (A)", "residual (B)"),
    5,
    10,
    50_000,
)
THREADS = (2, 16, 64, 1_024)


def seconds_an_image() -> dict[int, float]:
    """By depth, of one thread: the median run of 20 and of 56 layers, and between them by
    multiply-adds.
    """
    held: dict[int, list[float]] = {20: [], 56: []}
    with RESULTS.open(newline="") as file:
        for row in csv.DictReader(file):
            held[int(re.findall(r"\d+", row["condition"])[0])].append(
                1 / float(row["images_per_second"])
            )
    measured = {depth: statistics.median(values) for depth, values in held.items()}
    macs = {depth: parse_model(f"cifar-resnet{depth}", "").cost(3, 10, 32)[1] for depth in DEPTHS}
    slope = (measured[56] - measured[20]) / (macs[56] - macs[20])
    return {depth: measured[20] + slope * (macs[depth] - macs[20]) for depth in DEPTHS}


def table() -> str:
    """The study `shortcuts`, by the number of threads that share its runs."""
    each = {
        depth: EPOCHS * IMAGES * seconds / 3600 for depth, seconds in seconds_an_image().items()
    }
    runs = len(SHORTCUTS) * SEEDS
    total = sum(runs * hours for hours in each.values())
    lines = ["| layers | runs | hours per run, one thread |", "|---|---|---|"]
    lines += [f"| {depth} | {runs} | {hours:.2f} |" for depth, hours in each.items()]
    lines += ["", "| threads | hours |", "|---|---|"]
    for threads in THREADS:
        lines.append(f"| {threads:,} | {max(total / threads, max(each.values())):.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Put the table in its place."""
    page = HERE / "scale.md"
    text = re.sub(
        r"(<!-- table -->\n).*?(<!-- end -->)", rf"\1{table()}\n\2", page.read_text(), flags=re.S
    )
    page.write_text(text)


if __name__ == "__main__":
    main()
