"""Tables of runs for the tests of `resnetlab judge`."""

from __future__ import annotations

from pathlib import Path

from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.open_table import open_table
from resnetlab.imported_runs.report import ImportedReport, report_table

A = (91.3, 91.0, 91.6, 91.2, 91.4)
B = (90.1, 90.3, 89.8, 90.0, 90.2)
C = (90.0, 90.4, 90.1, 89.9, 90.3)


def long_rows(**arms: tuple[object, ...]) -> str:
    """Return the lines of a table with a row for each run."""
    lines = ["model,seed,accuracy"]
    for name, values in arms.items():
        lines += [f"{name},{seed},{value}" for seed, value in enumerate(values)]
    return "\n".join(lines) + "\n"


def report_of(
    text: str, folder: Path, name: str = "runs.csv", **declared: object
) -> ImportedReport:
    """Return the report on a table of this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return report_table(path, declare(**declared))


def values_of(path: Path, metric: str = "") -> list[tuple[object, ...]]:
    """Return the cells of the rows of a path."""
    return [tuple(row.cells.values()) for row in open_table(path, metric).rows]


def verdicts(report: ImportedReport) -> list[str]:
    """Return the verdicts of a report, in the order of its claims."""
    return [verdict.verdict for verdict in report.verdicts]
