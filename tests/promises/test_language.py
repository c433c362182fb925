"""The code is written in plain words. ruff checks the form of docstrings, and these tests check the
words.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import resnetlab as rl

SOURCE = Path(__file__).parents[2] / "src" / "resnetlab"
FILES = sorted(SOURCE.rglob("*.py"))
TOML_FILES = sorted(SOURCE.rglob("*.toml"))
ROOT = SOURCE.parents[1]
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))

OPENING = re.compile(
    r"(What|Where|Which|Whether|How|Why|Of|As|That|Those|The same|Who|When|Return (why|what|how))\b"
)
BARE_RAISES = re.compile(r"Raises \w+Error( and \w+Error)?\.(\s|$)")
"""An error without its condition."""
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
"""Words that are no part of a name of a class, function, parameter or field, and that no module
docstring of the tests has.
"""
OLD_WORDS = frozenset(
    """
    asked guess guesses held learner learners moment own said says subject team told wanted what
    """.split()  # noqa: SIM905
)
"""Words that are no part of a name of this project, its tests or its benchmarks."""
TEST_OLD_WORDS = frozenset("learner learners survey surveyed surveys view".split())  # noqa: SIM905
"""Words that are no part of a name or a docstring of the tests, which use the words of the source:
train state, scan and transform. The plural "views" is the word for test-time augmentation.
"""
VAGUE_IN_TESTS = VAGUE | {"how", "of"}
HELPER_OPENING = re.compile(r"(A|An|The) ")
"""First words of docstrings of helper functions in tests that begin with no verb."""
TEST_OPENING = re.compile(
    r"test_(it|its|neither|nobody|nor|of|others|that|they|this|those|what|whatever|where|which|who"
    r"|whoever|whose|why)_"
)
"""First words of unclear test names: the name of a test begins with its subject."""
TEST_METAPHORS = (METAPHORS - {"beside"}) | frozenset(
    """
    ask asks asked bear bears believe believes costs goes judged judges keep keeps know knows live
    lives look looked looks place places saw say says see seen sees spoil spoils stood survive
    survives twin twins
    """.split()  # noqa: SIM905
)
"""Words that are no part of the name of a test, which is a sentence in plain English."""
MAX_TEST_NAME = 90
PRONOUNS = re.compile(r"_(that|those)_of(_|$)|_(is|are)_none(_|$)|_(says|say)_so(_|$)")
"""Pronouns without a noun: `scores_are_those_of_a_loop` is `scores_equal_a_loop`."""
VAGUE_FUNCTIONS = frozenset(
    """
    apply build check close count do get give go handle have load make move out part process put
    save see set show take time use work write
    """.split()  # noqa: SIM905
)
"""Verbs and nouns that are not enough as the name of a public function of a module."""
FOREIGN_NAMES = frozenset(
    """
    NAME.TAG.safetensors PIL.ImageFile.LOAD_TRUNCATED_IMAGES Summary.value __MAX great_pyrenees_12
    jit_avx2_1x1_convolution_bwd_weights_t layer1.0.conv1.weight param_groups_layer_decay
    per_image_standardization
    simple_value to_empty
    """.split()  # noqa: SIM905
)
"""Names of other programs and of files that docstrings mention."""
FILE_ENDINGS = frozenset("csv html json md py safetensors tex toml".split())  # noqa: SIM905
"""Endings of the file names in docstrings and comments."""
BRITISH = re.compile(
    r"analys(e|ing|ed)(_|$)|artefact|behaviour|catalogue|centre|colour|favour|flavour|grey|honour"
    r"|initialis|judgement|labell|licence|metre(_|$)|modell|neighbour|normalis|optimis|organis"
    r"|quantis|serialis|summaris|synchronis|visualis"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef | ast.Module


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of modules, classes, functions and fields, with their lines."""
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


def property_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of properties, which read like fields and begin with a noun."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and (text := ast.get_docstring(node)):
            decorators = {item.id for item in node.decorator_list if isinstance(item, ast.Name)}
            if decorators & {"property", "cached_property"}:
                yield node.lineno, text


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the comments of a file, with their lines."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string.lstrip("# ")


def declared_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the names of classes, functions, parameters and fields, with their lines."""
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
    """Yield the variables that something is assigned to, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def words(name: str) -> set[str]:
    """Return the words of an identifier in lower case: `{"model", "config"}` of `ModelConfig`."""
    return set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_"))


def keys(value: Any) -> Iterator[str]:
    """Yield the keys of a table and of the tables in it."""
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
    assert [(line, text[:60]) for line, text in docstrings(tree) if BARE_RAISES.search(text)] == []
    assert [line for line, text in property_docstrings(tree) if text.startswith("Return ")] == []
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


def test_every_public_function_documents_its_arguments_and_its_value() -> None:
    """The public functions are those of `resnetlab.__all__`."""
    public = [getattr(rl, name) for name in rl.__all__]
    functions = [item for item in public if inspect.isfunction(item)]
    assert len(functions) > 20
    missing = []
    for function in functions:
        text, signature = inspect.getdoc(function) or "", inspect.signature(function)
        sections = ["Args:"] if signature.parameters else []
        sections += ["Returns:"] if signature.return_annotation not in (None, "None") else []
        missing += [f"{function.__name__}: {x}" for x in sections if f"\n{x}" not in text]
    assert missing == []


def is_unclear(name: str) -> bool:
    """Return true if the name of a test is not a sentence in plain English."""
    plain = name.replace("_interim_look_", "_").replace("_interim_looks_", "_")
    plain = re.sub(r"_interim_looks?$", "", plain)
    return bool(
        TEST_OPENING.match(name)
        or words(plain) & TEST_METAPHORS
        or words(name) & (OLD_WORDS - {"own"} | TEST_OLD_WORDS)
        or PRONOUNS.search(name)
        or len(name) > MAX_TEST_NAME
        or name.count("_") < 2
    )


def unclear_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the names in a test file that are not plain, with their lines."""
    functions = {(x.lineno, x.name) for x in ast.walk(tree) if isinstance(x, Function)}
    tests = {(line, name) for line, name in functions if name.startswith("test_")}
    yield from ((line, name) for line, name in sorted(tests) if is_unclear(name))
    declared = list(declared_names(tree))
    for line, name in [*declared, *variables(tree)]:
        if (line, name) not in tests and (
            words(name) & (OLD_WORDS | TEST_OLD_WORDS)
            or name.lower().strip("_") in VAGUE_IN_TESTS
            or ((line, name) in declared and words(name) & METAPHORS)
        ):
            yield line, name


def prose_words(text: str) -> set[str]:
    """Return the words of a text; a word with a hyphen, such as `stand-in`, is one word."""
    return set(re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower()))


def metaphors_in_prose(text: str) -> set[str]:
    """Return the metaphors in a text."""
    return prose_words(text) & METAPHORS


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_and_names_in_tests_are_plain(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = list(docstrings(tree))
    assert [(line, text[:60]) for line, text in texts if OPENING.match(text)] == []
    assert [(line, text) for line, text in texts if prose_words(text) & TEST_OLD_WORDS] == []
    helpers = [
        (node.lineno, text[:60])
        for node in ast.walk(tree)
        if isinstance(node, Function)
        and not node.name.startswith("test_")
        and HELPER_OPENING.match(text := ast.get_docstring(node) or "")
    ]
    assert helpers == []
    assert list(unclear_names(tree)) == []
    assert metaphors_in_prose(ast.get_docstring(tree) or "") == set()
    if path.name.startswith("test_"):
        assert not is_unclear(f"{path.stem}_of_a_module")


@pytest.mark.parametrize(
    "path", [*FILES, *TEST_FILES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_comments_and_headings_are_plain(path: Path) -> None:
    unclear = [
        (line, text)
        for line, text in comments(path)
        if metaphors_in_prose(text) - {"beside"}
        or (OPENING.match(text) and "." not in text and len(text) < 40)
    ]
    assert unclear == []


def test_names_in_benchmarks_have_no_old_words() -> None:
    old_names = []
    for path in BENCHMARKS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [*declared_names(tree), *variables(tree)]
        old_names += [
            f"{path.name}:{line} {name}" for line, name in names if words(name) & OLD_WORDS
        ]
    assert old_names == []


def other_names_of_generators(tree: ast.AST) -> Iterator[str]:
    """Yield the variables of a module that are generators with another name than `generator`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        (target,) = node.targets[-1:]
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=False))
        for name, value in pairs:
            made_by = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
            is_generator = made_by.endswith(("default_rng", "random.Random", ".manual_seed"))
            if is_generator and not ast.unparse(name).endswith("generator"):
                yield f"{ast.unparse(name)} = {ast.unparse(value)}"


@pytest.mark.parametrize(
    "path", [*FILES, *TEST_FILES, *BENCHMARKS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_generator_is_called_generator(path: Path) -> None:
    assert list(other_names_of_generators(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_the_language_check_detects_another_name_of_a_generator() -> None:
    tree = ast.parse("draw, n = np.random.default_rng(0), 3\ngenerator = random.Random(1)")
    assert list(other_names_of_generators(tree)) == ["draw = np.random.default_rng(0)"]


@pytest.mark.parametrize(
    "name",
    [
        "test_of_two_that_ask_at_once_one_computes",
        "test_the_sums_are_those_of_the_curves",
        "test_what_is_no_model_is_reported",
        "test_a_full_disk_costs_nothing",
        "test_a_name_that_is_none_is_refused",
        "test_paths",
    ],
)
def test_the_language_check_detects_unclear_test_names(name: str) -> None:
    tree = ast.parse(f"def {name}() -> None: ...")
    assert list(unclear_names(tree)) == [(1, name)]


def test_the_language_check_detects_unclear_variables_and_helpers() -> None:
    code = "def look(place, how): return place\ndef told(): found = held_value = eval_view = 1"
    names = {name for _, name in unclear_names(ast.parse(code))}
    assert names == {"told", "found", "held_value", "place", "how", "eval_view"}
    assert (
        list(unclear_names(ast.parse("def test_a_plain_sentence_passes(path): result = path")))
        == []
    )


def test_the_language_check_detects_metaphors_in_docstrings() -> None:
    assert metaphors_in_prose("Splits, told in counts: a stand-in of the split.") == {"told"}


def test_docstrings_and_comments_name_code_that_exists() -> None:
    """Words in backticks are looked up in the code: a renamed function leaves no trace in prose.

    Of `module.name`, the name is looked up in the module or package.
    """
    prose = re.compile(r'"""(?s:.*?)"""|#.*')
    code = {path: prose.sub("", path.read_text(encoding="utf-8")) for path in FILES}
    texts = [*code.values()]
    texts += [path.read_text(encoding="utf-8") for path in (*TOML_FILES, ROOT / "pyproject.toml")]
    known = {path.stem for path in FILES}.union(*(re.findall(r"\w+", text) for text in texts))
    in_module: dict[str, set[str]] = {}
    for path, text in code.items():
        in_module.setdefault(path.stem, set()).update(re.findall(r"\w+", text))
        in_module.setdefault(path.parent.name, {"py"}).update(re.findall(r"\w+", text), [path.stem])
    unknown = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, text in (*docstrings(tree), *comments(path)):
            for name in re.findall(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", text):
                first, *rest = name.removeprefix("resnetlab.").split(".")
                is_path = first in ("model", "state") or name.rpartition(".")[2] in FILE_ENDINGS
                names = known if is_path else in_module.get(first, known)
                if not (known.issuperset([first, *rest[1:]]) and names.issuperset(rest[:1])):
                    unknown.append(f"{path.relative_to(SOURCE)}:{line} {name}")
    assert [name for name in unknown if name.split()[1] not in FOREIGN_NAMES] == []


@pytest.mark.parametrize("path", TOML_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_keys_of_toml_files_are_spelled_as_americans_do(path: Path) -> None:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    assert [key for key in keys(tables) if BRITISH.search(key.lower())] == []


def patch_targets(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each target "resnetlab...." of a `setattr`, with its line; f-strings as `f"..."`."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        target = node.args[0]
        if node.func.attr != "setattr" or isinstance(target, ast.Name | ast.Attribute):
            continue
        if isinstance(target, ast.Constant) and str(target.value).startswith("resnetlab."):
            yield node.lineno, str(target.value)
        elif isinstance(target, ast.JoinedStr):
            yield node.lineno, ast.unparse(target)


def defines(target: str) -> bool:
    """Return True if the module of a target "resnetlab.module.name" has that name."""
    names = target.removeprefix("resnetlab.").split(".")
    for length in range(len(names), 0, -1):
        path = SOURCE.joinpath(*names[:length])
        module = (
            path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        )
        if module.exists():
            tree = ast.parse(module.read_text(encoding="utf-8"))
            imported = {
                (alias.asname or alias.name).split(".")[0]
                for node in ast.walk(tree)
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in node.names
            }
            return names[length] in imported | {
                name for _, name in (*declared_names(tree), *variables(tree))
            }
    return False


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_name_that_a_test_replaces_exists_in_that_module(path: Path) -> None:
    """A target that is put together is refused: a renaming by search would not find it."""
    targets = list(patch_targets(ast.parse(path.read_text(encoding="utf-8"))))
    assert [(line, text) for line, text in targets if not defines(text)] == []


def test_a_missing_or_composed_target_is_detected() -> None:
    tree = ast.parse(
        'patch.setattr("resnetlab.files.sha256", 1)\n'
        'patch.setattr("resnetlab.files.sha255", 1)\n'
        'patch.setattr(f"resnetlab.{name}.sha256", 1)\n'
    )
    assert [defines(text) for _, text in patch_targets(tree)] == [True, False, False]
