"""Hostile names for reports, a reader of their HTML, and their layout in a browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from helpers.synthetic import EVERY_STATUS, study_record
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.plan import StudyRecord
from resnetlab.studies.study import Override

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e|`x`$a$ ![x](https://evil.example/x.png)"


def hostile_record() -> StudyRecord:
    """Return a study record in which every name of a user or a data set is hostile."""
    study = load_study("digits")
    labels = {condition.label: condition.label + HOSTILE for condition in study.conditions}
    conditions = tuple(replace(c, label=labels[c.label]) for c in study.conditions)
    claims = tuple(
        replace(c, statement=HOSTILE, source=HOSTILE, left=labels[c.left], right=labels[c.right])
        for c in study.claims
    )
    study = replace(
        study, question=HOSTILE, about=HOSTILE, limits=HOSTILE, conditions=conditions, claims=claims
    )
    study = replace(study, overrides=(Override("recipe.epochs", "2", HOSTILE),))
    truth = {labels[label]: runs for label, runs in EVERY_STATUS.items()}
    return study_record(truth, study=study, classes=(HOSTILE, "a"))


class Page(HTMLParser):
    """Tags, their attributes and the text of the tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[list[str]]] = []
        self.cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append([])
            self.cell = self.rows[-1][-1]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.cell is not None and data.strip():
            self.cell.append(data.replace("\N{NO-BREAK SPACE}", " ").strip())


def layout(page: str, width: int, folder: Path, selector: str = "main") -> dict[str, float]:
    """Lay a page out in headless Chromium, in a window of `width` pixels.

    Returns `room`, the width without a scroll bar, `over`, the pixels by which the page is wider,
    and `right`, the right edge of the rightmost element that `selector` matches.
    """
    measure = (
        "const root = this.contentDocument.documentElement;"
        f"const all = [...this.contentDocument.querySelectorAll({json.dumps(selector)})];"
        "const right = Math.max(...all.map((one) => one.getBoundingClientRect().right));"
        "this.parentNode.dataset.layout = [root.clientWidth, "
        "root.scrollWidth - root.clientWidth, right].join(' ')"
    )
    frame = (
        f'<iframe style="border:0;width:{width}px;height:900px" onload="{html.escape(measure)}" '
        f'srcdoc="{html.escape(page)}">'
    )
    dumped = displayed(f"<!doctype html><body>{frame}</iframe></body>", folder)
    values = re.search(r'data-layout="([^"]+)"', dumped)
    assert values, dumped[-500:]
    return dict(zip(("room", "over", "right"), map(float, values[1].split()), strict=True))


def displayed(page: str, folder: Path) -> str:
    """Open a page in headless Chromium, run its scripts, and return its document as HTML."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=3000",
        "--dump-dom",
        (folder / "page.html").as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def clicked(page: str, selectors: list[str], folder: Path) -> str:
    """Open a page in headless Chromium, click each element in order, and return its main part."""
    click = (
        "const inner = this.contentDocument;"
        f"for (const one of {json.dumps(selectors)}) inner.querySelector(one).click();"
        "document.body.dataset.main = inner.querySelector('main').outerHTML"
    )
    frame = f'<iframe onload="{html.escape(click)}" srcdoc="{html.escape(page)}"></iframe>'
    dumped = displayed(f"<!doctype html><body>{frame}</body>", folder)
    values = re.search(r'data-main="([^"]+)"', dumped)
    assert values, dumped[-500:]
    return html.unescape(values[1])


def report_of_watch(page: str) -> str:
    """Return the report inside a page of `resnetlab watch`: without its status line and script."""
    page = re.sub(r'<body>\n<div id="watch".*?</div>', "<body>", page, count=1, flags=re.S)
    added = r'<link rel="stylesheet" href="/watch\.css">\n<script [^>]*src="/watch\.js"></script>\n'
    return re.sub(added, "", page, count=1)
