"""Use the pages of reports in headless Chromium, and check them by axe.

    python tests/report_audit.py REPORT.html [REPORT.html ...]

It needs node and Chromium (the environment variable CHROMIUM names it; the default is
/usr/bin/chromium), and the npm packages puppeteer-core and axe-core, in the current folder or on
NODE_PATH. Each page is opened from disk and without a network. The script prints one line for each
fault and ends with 1 if there is one:

- at 1280 and 390 pixels, in light and in dark colors: axe finds a serious or critical fault, the
  page is wider than the window, a script fails, or the page asks for another file;
- sorting, filtering, highlighting, the values next to the pointer, zoom, the PNG, the links of a
  claim, or the state in the address do not work, or a value is not that of results.csv;
- without JavaScript a table, a figure or a value is missing.

The environment variable PICTURES names a folder for pictures of the pages.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "helpers" / "report_page.js"


def observe(page: Path, pictures: str) -> dict[str, Any]:
    """Use a page in Chromium and return observations of it. PNG files are in `png`, as paths."""
    with tempfile.TemporaryDirectory() as downloads:
        task = {"page": str(page), "pictures": pictures, "downloads": downloads}
        ended = subprocess.run(
            ["node", str(SCRIPT)],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            check=False,
            timeout=1400,
        )
        if ended.returncode:
            raise SystemExit(ended.stderr)
        seen: dict[str, Any] = json.loads(ended.stdout)
        seen["png"] = [_picture_details(path) for path in sorted(Path(downloads).iterdir())]
    return seen


def _picture_details(path: Path) -> tuple[str, int, int]:
    """Return the name of a PNG, its width, and its number of colors."""
    from PIL import Image

    with Image.open(path) as image:
        colors = image.convert("RGB").getcolors(image.width * image.height) or []
        return path.name, image.width, len(colors)


def measured_values(folder: Path) -> dict[tuple[str, str], float]:
    """Return the measured value of each trained or failed run, by condition and seed."""
    values = {}
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["status"] in ("trained", "at chance"):
                value = row.get("value") or str(100 - float(row["test_error_pct"]))
                values[row["condition"], row["seed"]] = float(value)
    return values


def faults(page: Path, seen: dict[str, Any]) -> list[str]:
    """Return the faults of a page: those of Chromium and axe, and wrong values."""
    values = measured_values(page.parent)
    listed: list[str] = list(seen["faults"])

    def expect(is_right: bool, fault: str) -> None:
        if not is_right:
            listed.append(fault)

    for condition, seed, tip in seen["tips"]:
        exact = number(tip.rpartition(":")[2])
        expected = values.get((condition, seed))
        if expected is not None:
            close = exact is not None and abs(exact - expected) <= 1e-9 * max(1, abs(expected))
            expect(close and condition in tip, f"beside the pointer: {tip!r}, not {expected!r}")
    expect(len(seen["tips"]) >= min(5, len(values)), "no values beside the pointer")
    for direction, rows in seen["sorted"].items():
        cells = [number(text) for _, _, text in rows]
        known = [value for value in cells if value is not None]
        expect(
            known == sorted(known, reverse=direction == "descending") and len(known) > 1,
            f"sorted, {direction}: {known}",
        )
        expect(None not in cells[: len(known)], "a run without a value is not at the end")
        for condition, seed, text in rows:
            exact, value = values.get((condition, seed)), number(text)
            if exact is not None and value is not None:
                expect(abs(exact - value) <= 0.05001, f"{condition} {seed}: {text}, not {exact}")
    names = [name for name, width, colors in seen["png"] if width >= 680 and colors > 20]
    expect(len(names) == len(seen["png"]) >= 1, f"the PNG files are empty: {seen['png']}")
    return listed


def number(text: str) -> float | None:
    """Return the number of a text of a page in English or French."""
    match = re.search(r"-?\d+(\.\d+)?(e[-+]?\d+)?", text.replace("−", "-").replace(",", "."))
    return float(match[0]) if match else None


def main(*pages: str) -> None:
    """Print the faults of the pages. Raises SystemExit if there is one."""
    count = 0
    for name in pages:
        page = Path(name).resolve()
        for fault in faults(page, observe(page, os.environ.get("PICTURES", ""))):
            print(f"{name}: {fault}")
            count += 1
    print(f"{len(pages)} reports at 1280 and 390 px, light and dark: {count} faults")
    if count:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
