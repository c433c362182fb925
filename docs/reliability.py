"""Write docs/reliability.md from the last full run of the promises: `make reliability`.

The sentence of a promise is the docstring of its test file; its figures are those that the tests
recorded. A test that failed or was skipped stands in the table as such.
"""

from __future__ import annotations

import ast
import datetime
import platform
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from resnetlab.training.hardware import instruction_set, read_cpuinfo

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# What resnetlab promises, and how often it was tested

Written by `make reliability`, which runs every test of `tests/promises/` in full ({seconds} on
{machine}; commit {commit}, {date}). `make test` runs a tenth of each.

| Promise | Figures of that run | Test |
|---|---|---|
"""


def write(junit: Path, page: Path) -> None:
    """Write the page from the results that pytest saved with `--junitxml`."""
    suite = next(ElementTree.parse(junit).getroot().iter("testsuite"))
    rows: dict[str, list[str]] = {}
    for case in suite.iter("testcase"):
        module = case.attrib["classname"].replace(".", "/") + ".py"
        figures = [
            entry.attrib["value"]
            for entry in case.iter("property")
            if entry.attrib["name"] == "figures"
        ]
        for outcome in ("failure", "error", "skipped"):
            if case.find(outcome) is not None:
                figures = [f"**{outcome}**: {case.attrib['name']}"]
        if figures:
            rows.setdefault(module, []).extend(figures)
    seconds = float(suite.attrib["time"])
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout.strip()
    text = HEAD.format(
        seconds=f"{seconds / 60:.0f} minutes",
        machine=f"{read_cpuinfo()[0]} ({instruction_set()}), Python {platform.python_version()}",
        commit=commit,
        date=datetime.datetime.now(datetime.UTC).date(),
    )
    for module, figures in sorted(rows.items()):
        text += f"| {_sentence(ROOT / module)} | {'; '.join(figures)} | `{module}` |\n"
    page.write_text(text, encoding="utf-8")


def _sentence(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    sentence = " ".join(docstring.split("\n\n")[0].split()).removeprefix("Promise: ")
    return sentence[:1].upper() + sentence[1:]


if __name__ == "__main__":
    write(Path(sys.argv[1]), ROOT / "docs" / "reliability.md")
