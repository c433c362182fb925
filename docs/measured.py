"""Writes the measured results of README.md and results/README.md again: `python docs/measured.py`.

Every number comes from a file in results/, or from `install_size.json` and `replications.json` in
benchmarks/.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
import textwrap
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ("digits", "degradation", "ladder-mnist", "fast")
"""Studies of the table. The other reports of results/ have more conditions than fit here."""

MAIN_CLAIMS: dict[str, dict[str, tuple[str, ...]]] = {
    "depth report": {
        "depth": (
            "Plain 8 is more accurate than plain 14: depth hurts a plain network.",
            "Residual 8 is more accurate than plain 8.",
            "Residual 14 is more accurate than plain 14.",
            "Residual 14 is more accurate than residual 8.",
            "Residual 8 is more accurate than residual 34: more depth is not always better.",
            "Plain 18 fails, and residual 18 trains.",
            "Plain 34 fails, and residual 34 trains.",
            "Residual 50 is more accurate than residual 34, which its authors suspect to be luck.",
        ),
        "depth-as-run": (
            "As run, plain 18 fails, and residual 18 trains.",
            "As run, plain 34 fails, and residual 34 trains.",
            "As run, residual 14 is more accurate than residual 8.",
            "As run, residual 50 is more accurate than residual 34.",
        ),
    },
    "practical": {
        "bow-svm": ("The network is more accurate than the bag of words.",),
        "ladder": (
            "“+ normalization” is more accurate than “baseline”.",
            "“+ crop 28 and flip” is more accurate than “+ normalization”.",
            "“+ momentum and decay” is more accurate than “+ crop 28 and flip”.",
            "“+ dropout” is more accurate than “+ momentum and decay”.",
            "“+ batch norm” is more accurate than “+ dropout”.",
        ),
        "ladder-mnist": ("“+ flip” is less accurate than “LeNet-5”.",),
    },
    "shortcut report": {
        "shortcuts": (
            "Residual 56 (A) is more accurate than residual 20 (A).",
            "Residual 56 (A) is more accurate than residual 20 (A) by 1.3 points.",
            "Residual 20 (A) is more accurate than plain 20.",
            "Residual 56 (A) is more accurate than plain 56.",
            "Plain 20 is more accurate than plain 56: depth hurts a plain network.",
            "At 20 layers options A and B are equal to a point of accuracy.",
            "At 56 layers options A and B are equal to a point of accuracy.",
            (
                "The shortcut raises accuracy by about 28 % of the plain network's, on average "
                "over depths."
            ),
            (
                "The shortcut lowers the loss by about 43 % of the plain network's, on average "
                "over depths."
            ),
        ),
    },
    "slides": {
        "degradation": (
            "Plain 20 is more accurate than plain 56: depth hurts a plain network.",
            "Residual 56 is more accurate than plain 56.",
        ),
        "blocks": (
            "Full pre-activation is more accurate than the original block.",
            "The arrangements stand in the order of their published errors.",
        ),
    },
    "FixRes report": {
        "fixres-dogs": (
            (
                "Of one train size, a larger test size helps: train 128 and test 160 is more "
                "accurate than 128 and 128."
            ),
            (
                "A train size above the test size helps: train 224 and test 160 is more accurate "
                "than 160 and 160."
            ),
            "The second stage helps, on average over the sizes.",
            (
                "Both stages, trained at 224 and tested at 288, are more accurate than the first "
                "stage at 224 and 224."
            ),
        ),
        "fixres-crops": ("Ten crops are more accurate than one.",),
        "backbones": (
            "A network that is better on ImageNet is better here: ResNet-50 above ResNet-18.",
        ),
    },
}
"""Main claims of each source, by the study of the catalog that tests them."""

CLAIMS_START, CLAIMS_END = "<!-- claims -->\n", "<!-- end of claims -->"
START, END = "<!-- measured -->\n", "<!-- end -->"
REPEATED_START, REPEATED_END = "<!-- repeated -->\n", "<!-- end of repeated -->"
INSTALL_START, INSTALL_END = "<!-- install size -->\n", "<!-- end of install size -->"


def table() -> str:
    """Return the table as Markdown: a row for each condition."""
    header = "| study | condition | trained | test accuracy (range) | training | time per run |"
    rows = [header, "|---|---|---:|---:|---:|---:|"]
    for study in STUDIES:
        share = training_share(study)
        rows += [f"{row} {share} | {time} |" for row, time in condition_rows(study)]
    return "\n".join(rows)


def claims_table() -> str:
    """Return the main claims of the sources as Markdown, with the verdict of the committed runs."""
    header = "| source | claim | verdict | training | protocol | hours |"
    rows = [header, "|---|---|---|---:|---|---:|"]
    for source, studies in MAIN_CLAIMS.items():
        for study, claims in studies.items():
            rows += [f"| {source} | {claim} | {claim_cells(study, claim)} |" for claim in claims]
    return "\n".join(rows)


def claim_cells(study: str, claim: str) -> str:
    """Return the verdict on a claim, its share of the training, the protocol and the hours.

    The variant `evidence` of a study is preferred to its other reports.
    """
    for folder in (f"{study}-evidence", study):
        path = ROOT / "results" / folder / "report.json"
        report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        page = path.with_suffix(".md").read_text(encoding="utf-8") if report else ""
        for item in report.get("verdicts", []):
            if item["claim"] == claim:
                share, _, verdict = item["verdict"].rpartition(": ")
                share = share.removeprefix("at ").removesuffix(" of the training") or "100 %"
                if f"(trained runs only)**: {claim}" in page:
                    verdict += ", trained runs only"
                cells = (
                    f"[{verdict}](results/{folder}/report.md)",
                    share,
                    protocol(report["study"]),
                )
                return " | ".join((*cells, hours(folder)))
    path = ROOT / "src" / "resnetlab" / "catalog" / "studies" / f"{study}.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert claim in {item["statement"] for item in table.get("claim", [])}, claim
    return f"not run | – | `study run {study}` | –"


def protocol(study: dict[str, Any]) -> str:
    """Return the epochs, train images and seeds of a study in words."""
    epochs = {condition["recipe"].get("epochs") for condition in study["conditions"]} - {None}
    images = {condition["data"].get("train_images") for condition in study["conditions"]} - {None}
    assert len(epochs) <= 1, study["name"]
    assert len(images) <= 1, study["name"]
    parts = [f"{count:g} epochs" for count in epochs]
    parts += [f"{count:,} images" for count in images] or ["all images"]
    return ", ".join([*parts, f"{len(study['seeds'])} seeds"])


def hours(folder: str) -> str:
    """Return the hours of all runs of a study on one worker, with their evaluations."""
    with (ROOT / "results" / folder / "results.csv").open(newline="", encoding="utf-8") as file:
        runs = {row["run"]: row for row in csv.DictReader(file)}
    fields = ("train_seconds", "evaluation_seconds")
    seconds = sum(float(row[name] or 0) for row in runs.values() for name in fields)
    return f"{seconds / 3600:.1f}"


def replications_table() -> str:
    """Return the repeated runs as Markdown, from the file of `benchmarks/replications.py`."""
    header = (
        "| study | run | reported | interval | repeated | difference | "
        "processors, first and repeated |"
    )
    rows = [header, "|---|---|---:|---:|---:|---:|---|"]
    path = ROOT / "benchmarks" / "replications.json"
    for study, record in json.loads(path.read_text(encoding="utf-8")).items():
        page = ROOT / "results" / study / "report.json"
        report = json.loads(page.read_text(encoding="utf-8"))
        first = " and ".join(dict.fromkeys(map(machine_name, report["machines"])))
        again = machine_name(record["machine"])
        for run in record["replicated"]:
            name = f"{run['condition']}, seed {run['seed']}"
            rows.append(
                f"| `{study}` | {name} | {percent(run['reported_accuracy_pct'])} | "
                f"{interval(run['prediction_interval_pct'])} | {percent(run['accuracy_pct'])} | "
                f"{difference(run['reported_accuracy_pct'], run['accuracy_pct'])} | "
                f"{first}; {again} |"
            )
    return "\n".join([*rows, *runs_of_two_studies("ensemble-evidence", "blocks-evidence")])


def runs_of_two_studies(first: str, second: str) -> list[str]:
    """Return a row for each run of two studies that was trained for both, on two processors."""
    names, tables = [], []
    for study in (first, second):
        folder = ROOT / "results" / study
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        names.append(" and ".join(dict.fromkeys(map(machine_name, report["machines"]))))
        with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
            tables.append({row["run"]: row for row in csv.DictReader(file)})
    rows = []
    for run in (run for run in tables[0] if run in tables[1]):
        row = tables[0][run]
        values = [100 - float(table[run]["test_error_pct"]) for table in tables]
        rows.append(
            f"| `{first}`, repeated in `{second}` | {row['condition']}, seed {row['seed']} | "
            f"{percent(values[0])} | – | {percent(values[1])} | {difference(*values)} | "
            f"{'; '.join(names)} |"
        )
    return rows


def difference(first: float | None, second: float | None) -> str:
    """Return the difference of two accuracies in points as text."""
    return "–" if first is None or second is None else f"{second - first:+.2f}".replace("-", "−")


def machine_name(machine: dict[str, Any]) -> str:
    """Return the processor and the instruction set of a machine."""
    return f"{machine['processor']} ({machine.get('instruction_set') or 'unknown'})"


def percent(value: float | None) -> str:
    """Return an accuracy as text."""
    return "–" if value is None else f"{value:.2f} %"


def interval(ends: list[float] | None) -> str:
    """Return the ends of an interval as text."""
    return "–" if ends is None else f"{ends[0]:.1f} to {ends[1]:.1f}"


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
        f"Python {size['python']}): {size['install_megabytes']} MB in {size['install_packages']} "
        f"packages, installed in {size['install_seconds_with_download']:g} s with the downloads. "
        f"`judge` then takes {statistics.median(size['judge_processor_seconds']):.1f} s of the "
        f"processor. The extra `train` adds {size['train_megabytes']:,} MB there, of which "
        f"{size['train_cuda_megabytes']:,} MB are libraries of CUDA (`python "
        "benchmarks/install_size.py`)."
    )
    return textwrap.fill(text, 120)


def duration(seconds: float) -> str:
    """Return a time in words: `1.6 s`, `3 min 36 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def main() -> None:
    """Replace the parts between the marks in README.md and results/README.md."""
    for path, start, content, end in (
        (ROOT / "README.md", CLAIMS_START, claims_table(), CLAIMS_END),
        (ROOT / "README.md", START, table(), END),
        (ROOT / "README.md", INSTALL_START, install_size(), INSTALL_END),
        (ROOT / "results" / "README.md", REPEATED_START, replications_table(), REPEATED_END),
    ):
        before, _, rest = path.read_text(encoding="utf-8").partition(start)
        text = f"{before}{start}{content}\n{end}{rest.partition(end)[2]}"
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
