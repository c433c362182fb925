"""Writes the measured results of README.md again: `python docs/measured.py`.

Every number comes from a file in results/, or from benchmarks/install_size.json.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ("digits", "degradation", "ladder-mnist", "fast")
"""Studies of the table. The other reports of results/ have more conditions than fit here."""

START, END = "<!-- measured -->\n", "<!-- end -->"
INSTALL_START, INSTALL_END = "<!-- install size -->\n", "<!-- end of install size -->"


def table() -> str:
    """Return the table as Markdown: a row for each condition."""
    header = "| study | condition | trained | test accuracy (range) | training | time per run |"
    rows = [header, "|---|---|---:|---:|---:|---:|"]
    for study in STUDIES:
        share = training_share(study)
        rows += [f"{row} {share} | {time} |" for row, time in condition_rows(study)]
    return "\n".join(rows)


def condition_rows(study: str) -> list[tuple[str, str]]:
    """Return the first cells of each condition of a study, and the mean training time of a run."""
    runs: dict[str, list[dict[str, str]]] = {}
    with (ROOT / "results" / study / "results.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            runs.setdefault(row["condition"], []).append(row)
    rows = []
    for condition, planned in runs.items():
        trained = [row for row in planned if row["status"] == "trained"]
        accuracies = [100 - float(row["test_error_pct"]) for row in trained]
        finished = [row for row in planned if row["status"] != "missing"]
        seconds = statistics.mean(float(row["train_seconds"]) for row in finished)
        accuracy = f"{statistics.mean(accuracies):.1f} % ({min(accuracies):.1f} to "
        accuracy += f"{max(accuracies):.1f})"
        link = f"[{study}](results/{study}/report.md)"
        count = f"{len(trained)} of {len(planned)}"
        rows.append((f"| {link} | {condition} | {count} | {accuracy} |", duration(seconds)))
    return rows


def training_share(study: str) -> str:
    """Return the share of the training from the table of results/README.md, which a test checks."""
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    match = re.search(rf"^\| \[{study}\]\({study}/report.md\) \| ([^|]+?) \|", text, re.M)
    assert match, study
    return match[1]


def install_size() -> str:
    """Return the size and the seconds of an installation without torch as sentences."""
    path = ROOT / "benchmarks" / "install_size.json"
    size = json.loads(path.read_text(encoding="utf-8"))
    text = (
        f"Measured on {size['time'][:10]} ({size['cores']} cores at a load of {size['load']:g}, "
        f"Python {size['python']}): {size['install_megabytes']} MB in "
        f"{size['install_packages']} packages, installed in "
        f"{size['install_seconds_with_download']:g} s with the downloads. `judge` then takes "
        f"{statistics.median(size['judge_processor_seconds']):.1f} s of the processor. The extra "
        f"`train` adds {size['train_megabytes']:,} MB there, of which "
        f"{size['train_cuda_megabytes']:,} MB are libraries of CUDA "
        "(`python benchmarks/install_size.py`)."
    )
    return textwrap.fill(text, 120)


def duration(seconds: float) -> str:
    """Return a time in words: `1.6 s`, `3 min 36 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def main() -> None:
    """Replace the parts between the marks in README.md."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    for start, content, end in (
        (START, table(), END),
        (INSTALL_START, install_size(), INSTALL_END),
    ):
        before, _, rest = text.partition(start)
        text = f"{before}{start}{content}\n{end}{rest.partition(end)[2]}"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
