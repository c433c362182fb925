"""Look up every pinned package in the advisory database of PyPI, by pip-audit. `make audit`.

Ends with 0 only if the database answered about every package and knows no vulnerability; with 1 if
it knows one; with 3, in plain words, if nothing could be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UNCHECKED = 3

MAX_LINES = 10
"""Number of packages that are listed as not checked; a count stands for the others."""


def judge(report: dict[str, Any], pins: list[str]) -> tuple[int, list[str]]:
    """Return the exit code and the lines for a report of pip-audit about the pinned packages."""
    entries = {entry["name"].lower().replace("_", "-"): entry for entry in report["dependencies"]}
    names = [pin.partition("==")[0].lower().replace("_", "-") for pin in pins]
    lines, vulnerable, unchecked = list[str](), 0, list[str]()
    for name in names:
        entry = entries.get(name, {"skip_reason": "pip-audit did not report it"})
        if "skip_reason" in entry:
            unchecked.append(f"{name}: NOT CHECKED: {entry['skip_reason']}")
        for advisory in entry.get("vulns", ()):
            vulnerable += 1
            fixed = ", ".join(advisory.get("fix_versions", ())) or "no version yet"
            lines.append(f"{name} {entry['version']}: {advisory['id']} (fixed in {fixed})")
    lines += unchecked[:MAX_LINES]
    if len(unchecked) > MAX_LINES:
        lines.append(f"{len(unchecked) - MAX_LINES} more packages were NOT CHECKED")
    checked = len(names) - len(unchecked)
    lines.append(f"{checked} of {len(names)} packages checked, {vulnerable} advisories")
    if not checked:
        lines.append("NOT CHECKED: the advisory database has no answer here, or is not reached")
    return (1 if vulnerable else UNCHECKED if unchecked else 0), lines


def main() -> int:
    """Run pip-audit on constraints.txt, print what it knows, and return the exit code."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    with tempfile.TemporaryDirectory() as folder:
        # The database knows released versions, without the name of a build as in 2.10.0+cpu.
        requirements, report = Path(folder) / "pins.txt", Path(folder) / "report.json"
        requirements.write_text("".join(f"{pin.split('+')[0]}\n" for pin in pins))
        command = [str(Path(sys.executable).with_name("uv")), "tool", "run", "pip-audit"]
        options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
        done = subprocess.run(
            [*command, *options, "--output", str(report), "--requirement", str(requirements)],
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.exists():
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            print(f"NOT CHECKED: pip-audit or the advisory database was not reached: {reason}")
            return UNCHECKED
        code, verdict = judge(json.loads(report.read_text()), pins)
    print("\n".join(verdict))
    return code


if __name__ == "__main__":
    sys.exit(main())
