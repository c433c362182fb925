"""Write docs/licenses.md: the license of each pinned package, from its installed metadata.

`make licenses` runs it. A package without a statement of its license is listed as such.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Licenses of the packages that resnetlab was tested with

Written by `make licenses` from the metadata that each installed package has about itself. It lists
every package of `constraints.txt`, also those that only tests and tools need. A package states its
license as an SPDX expression, as a classifier or as a text; the table has the first of these.

| Package | Version | License |
|---|---|---|
"""
ABSENT = "**not stated**"


def pinned(constraints: str) -> dict[str, str]:
    """Return the version of each pinned package by its name."""
    lines = (line.split("#")[0].strip() for line in constraints.splitlines())
    pins = (line.partition("==")[::2] for line in lines if line)
    return {name: version.split(";")[0].strip() for name, version in pins}


def stated_license(name: str) -> str:
    """Return the license that an installed package states."""
    metadata: Any = importlib.metadata.metadata(name)
    expression = metadata.get("License-Expression")
    classifiers = [
        item.rpartition(" :: ")[2]
        for item in metadata.get_all("Classifier", [])
        if item.startswith("License :: ") and not item.endswith("OSI Approved")
    ]
    text = (metadata.get("License") or "").strip()
    first_line = text.splitlines()[0].strip() if text else ""
    license_text = expression or ", ".join(classifiers) or first_line
    return re.sub(r"\s+", " ", license_text).replace("|", "\\|")[:120] or ABSENT


def build_page(constraints: str) -> str:
    """Return the text of docs/licenses.md. Ends the program if a pinned package is not installed or
    has another version.
    """
    rows, problems = [], []
    for name, version in pinned(constraints).items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name}: not installed")
            continue
        if installed.split("+")[0] != version.split("+")[0]:
            problems.append(f"{name}: {installed} is installed, {version} is pinned")
        rows.append(f"| {name} | {version} | {stated_license(name)} |\n")
    if problems:
        sys.exit("\n".join(problems))
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (ROOT / "docs" / "licenses.md").write_text(
        build_page((ROOT / "constraints.txt").read_text(encoding="utf-8")), encoding="utf-8"
    )
