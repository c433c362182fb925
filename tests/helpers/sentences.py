"""Sentences of the code and of its templates, and the text of pages."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import resnetlab

SOURCE = Path(resnetlab.__file__).parent

TRANSLATED_FIRST = {"tr", "deferred", "Message"}
"""Functions whose first argument is a sentence of the catalog."""
TRANSLATED_ALL = {"text_columns", "number_columns"}
"""Functions all of whose arguments are."""


ENGLISH_WORD = re.compile(
    r"\b(the|of|and|are|is|with|was|by|from|not|to|for|at|all|runs?|trained|mean|seeds?|than|each"
    r"|no|its|that|this|which|below|above|accuracy|loss|epochs?|claims?|share|same)\b",
    re.I,
)
DATA = re.compile(
    r"[\w.]*(results|curves|report|layers|blocks)\.(csv|json|md)|figures/[\w./-]+"
    r"|(recipe|data|model|numerics)\.[\w.]+|etude-\w+|digits-[\w-]+|resnetlab study run"
)
"""Names of files, fields and runs, which have no language."""


def catalog() -> dict[str, list[dict[str, str]]]:
    """Return the catalog: its entries by table."""
    return tomllib.loads((SOURCE / "catalog" / "french.toml").read_text(encoding="utf-8"))


def study_catalog() -> list[dict[str, str]]:
    """Return the entries of the catalog of the studies' texts."""
    path = SOURCE / "catalog" / "studies-french.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["text"]


def sentences() -> set[str]:
    """Return every sentence that the code, the templates or the scripts translate."""
    texts = set()
    for path in SOURCE.rglob("*.py"):
        for call in _calls(path):
            if _name(call) in TRANSLATED_FIRST and call.args:
                texts |= _texts(call.args[0])
            if _name(call) in TRANSLATED_ALL:
                texts |= {text for argument in call.args for text in _texts(argument)}
    for path in [*SOURCE.rglob("*.html"), *SOURCE.rglob("*.js")]:
        text = path.read_text(encoding="utf-8")
        texts |= set(re.findall(r'\btr\("([^"]+)"', text))
    return texts


def nouns() -> set[str]:
    """Return every noun that the reports write behind a number."""
    return {
        text
        for path in (SOURCE / "reports").rglob("*.py")
        for call in _calls(path)
        if _name(call) in ("format_count", "tr_count")
        for text in _texts(call.args[1])
    }


def string_constants() -> set[str]:
    """Return every piece of text in the code, and in f-strings."""
    return {
        node.value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _calls(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _texts(node: ast.expr) -> set[str]:
    """Return the texts that an argument may be: a constant, or the branches of a condition."""
    if isinstance(node, ast.Constant):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return _texts(node.body) | _texts(node.orelse)
    return set()


class PageText(HTMLParser):
    """Pieces of text that a reader of a page sees or hears."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.hidden = 0
        self.language = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "html":
            self.language = values["lang"] or ""
        if tag in ("style", "script", "code"):
            self.hidden += 1
        names = ("aria-label", "alt", "data-name", "title")
        self.texts += [values[name] for name in names if values.get(name)]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script", "code"):
            self.hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self.hidden and data.strip():
            self.texts.append(data.strip())


def english_left(page: PageText, data: Iterable[str] = frozenset()) -> list[str]:
    """Return the texts of a French page that have English words, except names and `data`."""
    return [
        text
        for text in page.texts
        if ENGLISH_WORD.search(DATA.sub("", text)) and not any(item in text for item in data)
    ]
