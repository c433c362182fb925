"""The code is written in plain words: no docstring opens with a question word, no local variable is
a metaphor.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "resnetlab"
FILES = sorted(SOURCE.rglob("*.py"))
VAGUE = {
    "held",
    "found",
    "told",
    "said",
    "stand",
    "stands",
    "place",
    "kept",
    "shown",
    "mine",
    "lent",
    "whole",
    "apart",
}
"""Names that say nothing about a value; docs/glossary.md and the field have better ones."""
OPENING = re.compile(r"^(What|Where|Which|Whether|How|Why|Of|As|That|Those|The same|Who|When)\b")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The docstrings of modules, classes, functions and fields, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, Definition) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text
        body = getattr(node, "body", None)
        for field, text_node in itertools.pairwise(body) if isinstance(body, list) else ():
            is_text = isinstance(text_node, ast.Expr) and isinstance(text_node.value, ast.Constant)
            if (
                isinstance(field, ast.Assign | ast.AnnAssign)
                and is_text
                and isinstance(text_node.value.value, str)
            ):
                yield text_node.lineno, text_node.value.value


def local_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The variables that functions assign to, with their lines."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.lineno, node.id


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_docstrings_begin_with_a_verb_or_a_noun_and_locals_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [(line, text[:60]) for line, text in docstrings(tree) if OPENING.match(text)] == []
    assert [(line, name) for line, name in local_names(tree) if name in VAGUE] == []
