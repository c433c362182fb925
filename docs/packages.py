"""Write the picture and the tables of the packages in docs/architecture.md.

Command: `python docs/packages.py`.

The layers come from the contract of import-linter in pyproject.toml, the texts from the docstrings
of the packages and modules.
"""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "resnetlab"
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "pictures" / "packages.svg"
START, END = "<!-- packages -->\n", "<!-- end of packages -->"

BOX_HEIGHT, ROW_HEIGHT, GAP, LETTER, MARGIN = 26, 36, 8, 7.3, 20
"""Sizes in pixels: a box, a layer, the space between boxes, a letter, and the border."""

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"
 font-family="ui-monospace, monospace" font-size="12">
<title>Layers of resnetlab. A module imports only from layers below its own.</title>
<style>
rect {{ fill: #e8f0fa; stroke: #5b7fa6 }}
rect.module {{ fill: #f4f1e8; stroke: #a08c5b }}
text {{ fill: #1d2733 }}
path {{ stroke: #66717d; fill: none }}
@media (prefers-color-scheme: dark) {{
  rect {{ fill: #1d2b3a }}
  rect.module {{ fill: #2e2a1e }}
  text {{ fill: #e6e9ed }}
}}
</style>
<path d="M20 20 V{bottom} m-5 -7 l5 7 l5 -7"/>"""


def layers() -> list[list[str]]:
    """Return the names of the packages and modules of each layer, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["type"] == "layers")
    return [re.split(r" [|:] ", layer) for layer in contract["layers"]]


def docstring(name: str) -> str:
    """Return the docstring of a package or module. Ends the program if it has none."""
    path = SOURCE / name / "__init__.py"
    path = path if path.exists() else SOURCE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise SystemExit(f"{path}: has no docstring. Fix: say in a sentence what it contains")
    return text


def describe(name: str) -> str:
    """Return the first sentence of a docstring as one line, without its full stop."""
    paragraph = " ".join(docstring(name).split("\n\n")[0].split())
    return re.split(r"(?<=[\w`)\]])\. ", paragraph)[0].rstrip(".").replace("|", "\\|")


def first_files(name: str) -> str:
    """Return the files with which a reader starts, from `Start with` in the docstring."""
    text = " ".join(docstring(name).split())
    return text.partition("Start with ")[2].rstrip(".")


def table() -> str:
    """Return a table of the packages and one of the modules beside them, as Markdown."""
    names = [name for layer in layers() for name in layer]
    packages = [name for name in names if (SOURCE / name).is_dir()]
    rows = ["| package | contains | start with |", "|---|---|---|"]
    rows += [f"| `{name}/` | {describe(name)} | {first_files(name)} |" for name in packages]
    rows += ["", "| module | contains |", "|---|---|"]
    rows += [f"| `{name}.py` | {describe(name)} |" for name in names if name not in packages]
    return "\n".join(rows) + "\n"


def picture() -> str:
    """Return the layers as SVG: a row for each, a box for each package or module."""
    rows = layers()
    widths = [[LETTER * len(name) + 2 * GAP for name in row] for row in rows]
    width = max(sum(row) + GAP * (len(row) - 1) for row in widths) + 3 * MARGIN
    height = ROW_HEIGHT * len(rows) + 2 * MARGIN
    parts = [HEAD.format(width=round(width), height=height, bottom=height - MARGIN)]
    for index, (names, sizes) in enumerate(zip(rows, widths, strict=True)):
        left, top = 2.0 * MARGIN, MARGIN + ROW_HEIGHT * index
        for name, size in zip(names, sizes, strict=True):
            kind = "package" if (SOURCE / name).is_dir() else "module"
            parts.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{size:.1f}" '
                f'height="{BOX_HEIGHT}" rx="4"/><text x="{left + GAP:.1f}" y="{top + 17}" '
                f'textLength="{size - 2 * GAP:.1f}">{escape(name)}</text>'
            )
            left += size + GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def build_page() -> str:
    """Return docs/architecture.md with its tables written again."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    return before + START + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(build_page(), encoding="utf-8")
    PICTURE.write_text(picture(), encoding="utf-8")
