"""Writes the tables of docs/scale.md again from committed results: run this script."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from resnetlab.models.parse import parse_model

HERE = Path(__file__).resolve().parent
BENCHMARKS = HERE.parent / "benchmarks"
RESULTS = HERE.parent / "results" / "shortcuts-evidence" / "results.csv"
DEPTHS, SHORTCUTS, SEEDS, EPOCHS, IMAGES = (
    (20, 32, 44, 56),
    ("plain", "residual (A)", "residual (B)"),
    5,
    10,
    50_000,
)
THREADS = (2, 16, 64, 1_024)


def seconds_an_image() -> dict[int, float]:
    """By depth, of one thread: the fastest run of 20 and of 56 layers, and between them by
    multiply-adds. Other work shared the cores with most runs, and least with the fastest ones.
    """
    held: dict[int, list[float]] = {20: [], 56: []}
    with RESULTS.open(newline="") as file:
        for row in csv.DictReader(file):
            held[int(re.findall(r"\d+", row["condition"])[0])].append(
                1 / float(row["images_per_second"])
            )
    measured = {depth: min(values) for depth, values in held.items()}
    macs = {depth: parse_model(f"cifar-resnet{depth}", "").cost(3, 10, 32)[1] for depth in DEPTHS}
    slope = (measured[56] - measured[20]) / (macs[56] - macs[20])
    return {depth: measured[20] + slope * (macs[depth] - macs[20]) for depth in DEPTHS}


def table() -> str:
    """Return the study `shortcuts`, by the number of threads that share its runs."""
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


def many_runs() -> str:
    """Return the times of the commands by the number of runs, from benchmarks/scale.json."""
    record = json.loads((BENCHMARKS / "scale.json").read_text())
    rows = record["rows"]
    counts = [f"{row['runs']:,}" for row in rows]
    lines = [f"| runs | {' | '.join(counts)} |"]
    lines += ["|---|" + "---|" * len(rows)]
    for name, text in (
        ("first status", "`study status`, the first time"),
        ("status", "`study status`, after that"),
        ("plan", "`study plan --no-timing`"),
        ("report", "`study report`"),
    ):
        times = [f"{row[name]:.1f} s ({row[f'{name} cpu']:.1f} s)" for row in rows]
        lines.append(f"| {text} | {' | '.join(times)} |")
    for name, text in (("status", "`study status`"), ("report", "`study report`")):
        memory = [f"{row[f'{name} megabytes']:,} MB" for row in rows]
        lines.append(f"| memory of {text} | {' | '.join(memory)} |")
    sizes = [f"{row['page bytes'] / 1e6:.1f} MB" for row in rows]
    lines += [f"| page of the report | {' | '.join(sizes)} |"]
    limits = ", ".join(f"`{name}` {seconds:.0f} s" for name, seconds in record["limits"].items())
    over = "; ".join(record["problems"]) or "none is exceeded"
    lines += ["", f"Limits for {counts[-1]} runs, by the clock: {limits}. Exceeded: {over}."]
    loads = ", ".join(f"{row['load']:.0f}" for row in rows)
    return "\n".join(
        [*lines, "", _machine_text(record, f"the load before each column was {loads}")]
    )


def cluster() -> str:
    """Return the overhead on a cluster and the losses, from benchmarks/ray_cluster.json."""
    record = json.loads((BENCHMARKS / "ray_cluster.json").read_text())
    overhead, losses = record["overhead"], record["losses"]
    lines = ["| | Ray | local processes |", "|---|---|---|"]
    for name, text in (
        ("first_result_seconds", "from the command to the first result"),
        ("run_seconds", "a later run"),
        ("train_and_evaluation_seconds", "its training and evaluation"),
        ("overhead_seconds", "the rest: overhead of a run"),
        ("seconds", f"the study of {overhead['runs']} runs"),
    ):
        ray, local = (overhead[kind][name] for kind in ("ray", "local"))
        lines.append(f"| {text} | {ray:.1f} s | {local:.1f} s |")
    sentence = (
        f"Of a study of {losses['runs']} runs, one process and then one node were killed. The "
        f"driver noticed it after {losses['process_noticed_seconds']:.0f} s and "
        f"{losses['node_noticed_seconds']:.0f} s. Lost attempts: {losses['lost_attempts']}; "
        f"continued from a checkpoint: {losses['resumed_from_checkpoint']}; missing runs: "
        f"{losses['missing']}; evaluations recorded twice: {losses['recorded_twice']}; results "
        f"that differ in a bit from those of local processes: {losses['different']}."
    )
    load = f"the load before it was {record['load']:.0f}"
    return "\n".join([*lines, "", sentence, "", _machine_text(record, load)])


def _machine_text(record: dict[str, Any], load: str) -> str:
    return (
        f"Measured on {record['time'][:10]} at commit {record['commit'][:8]} on {record['cores']} "
        f"cores ({record['processor']}), which other work shared: {load}."
    )


TABLES = {"table": table, "many runs": many_runs, "cluster": cluster}
"""Functions that write the parts of the page, by the names of their marks."""


def main() -> None:
    """Write each part of the page."""
    page = HERE / "scale.md"
    text = page.read_text()
    for name, write in TABLES.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, rf"\g<1>{write()}\n\g<2>", text, flags=re.S)
    page.write_text(text)


if __name__ == "__main__":
    main()
