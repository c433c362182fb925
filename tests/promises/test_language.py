"""The code is written in plain words. ruff checks the form of docstrings, these tests the words."""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "resnetlab"
FILES = sorted(SOURCE.rglob("*.py"))
TOML_FILES = sorted(SOURCE.rglob("*.toml"))
ROOT = SOURCE.parents[1]
TEST_FILES = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])

OPENING = re.compile(r"(What|Where|Which|Whether|How|Why|Of|As|That|Those|The same|Who|When)\b")
VAGUE = frozenset(
    """
    apart fate fates found held hindrance kept lent mine place said shown spared stand
    standing stands told twin whole
    """.split()  # noqa: SIM905
)
"""Names that do not describe a value; docs/glossary.md and the field have better ones."""
METAPHORS = frozenset(
    """
    abreast beside fate fates found held hold holds kept lend lends lent meet meets met mend
    said stand stands tell tells told
    """.split()  # noqa: SIM905
)
"""Words that are no part of a name of a class, function, parameter or field."""
OLD_WORDS = frozenset(
    """
    asked guess guesses held learner learners moment own said says subject team told wanted what
    """.split()  # noqa: SIM905
)
"""Words that are no part of a name of this project, its tests or its benchmarks."""
SENTENCE_WORDS = frozenset({"own", "says", "what"})
"""Old words that the name of a test may have, since it is a sentence."""
VAGUE_FUNCTIONS = frozenset(
    """
    apply check close count do get give go handle have make move out part process put
    see set show take use work
    """.split()  # noqa: SIM905
)
"""Verbs and nouns that are not enough as the name of a public function of a module."""
FOREIGN_NAMES = frozenset(
    """
    NAME.TAG.safetensors PIL.ImageFile.LOAD_TRUNCATED_IMAGES __MAX
    jit_avx2_1x1_convolution_bwd_weights_t layer1.0.conv1.weight param_groups_layer_decay
    per_image_standardization
    simple_value to_empty
    """.split()  # noqa: SIM905
)
"""Names of other programs and of files that docstrings mention."""
BRITISH = re.compile(
    r"analys(e|ing|ed)(_|$)|artefact|behaviour|catalogue|centre|colour|favour|flavour|grey|honour"
    r"|initialis|judgement|labell|licence|metre(_|$)|modell|neighbour|normalis|optimis|organis"
    r"|quantis|serialis|summaris|synchronis|visualis"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef | ast.Module


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


def declared_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The names of classes, functions, parameters and fields, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield field.lineno, field.target.id


def variables(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The variables that something is assigned to, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def words(name: str) -> set[str]:
    """The words of an identifier in lower case: `{"model", "config"}` of `ModelConfig`."""
    return set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_"))


def keys(value: Any) -> Iterator[str]:
    """The keys of a table and of the tables in it."""
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_docstrings_and_names_are_plain(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert [(line, text[:60]) for line, text in docstrings(tree) if OPENING.match(text)] == []
    declared = list(declared_names(tree))
    names = [*declared, *variables(tree)]
    assert [(line, name) for line, name in names if name.lower().strip("_") in VAGUE] == []
    assert [(line, name) for line, name in declared if words(name) & METAPHORS] == []
    assert [(line, name) for line, name in names if words(name) & OLD_WORDS] == []
    assert [(line, name) for line, name in names if BRITISH.search(name.lower())] == []
    functions = [node.name for node in tree.body if isinstance(node, Function)]
    assert [name for name in functions if name in VAGUE_FUNCTIONS] == []
    assert "# fmt: skip" not in text
    assert "# fmt: off" not in text


def test_names_in_tests_and_benchmarks_are_plain() -> None:
    def old_words(name: str) -> set[str]:
        return words(name) & OLD_WORDS - (SENTENCE_WORDS if name.startswith("test_") else set())

    old_names = []
    for path in TEST_FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, name in [*declared_names(tree), *variables(tree)]:
            if old_words(name):
                old_names.append(f"{path.relative_to(ROOT)}:{line} {name}")
    assert old_names == []


def test_docstrings_name_code_that_exists() -> None:
    """Words in backticks are looked up in the code: a renamed function leaves no trace in prose."""
    prose = re.compile(r'"""(?s:.*?)"""')
    texts = [prose.sub("", path.read_text(encoding="utf-8")) for path in FILES]
    texts += [path.read_text(encoding="utf-8") for path in (*TOML_FILES, ROOT / "pyproject.toml")]
    known = {path.stem for path in FILES}.union(*(re.findall(r"\w+", text) for text in texts))
    unknown = [
        f"{path.relative_to(SOURCE)}:{line} {name}"
        for path in FILES
        for line, text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        for name in re.findall(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", text)
        if not known.issuperset(name.split(".")) and name not in FOREIGN_NAMES
    ]
    assert unknown == []


@pytest.mark.parametrize("path", TOML_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_keys_of_toml_files_are_spelled_as_americans_do(path: Path) -> None:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    assert [key for key in keys(tables) if BRITISH.search(key.lower())] == []
