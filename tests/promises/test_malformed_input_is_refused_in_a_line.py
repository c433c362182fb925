"""Promise: a malformed study file or folder of images ends in lines that name its mistakes and exit
code 2, without a traceback, within two seconds and with bounded output.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from helpers.commands import Ended, check_error_lines, run_command
from helpers.pictures import encoded, picture

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without a search for the smallest example, which would multiply the time of a failure."""

VALID: dict[str, Any] = {
    "name": "small",
    "question": "Is the residual network better?",
    "data": "digits",
    "recipe": {"batch_size": 16, "epochs": 2, "optimizer": {"name": "adam", "lr": 1e-3}},
    "model": {"depth": 8, "widths": [4, 4, 8]},
    "numerics": {"precision": "fp32"},
    "seeds": [0, 1],
    "grid": {"model": {"shortcut": ["none", "A"]}},
    "claim": [
        {
            "statement": "A residual network is more accurate than a plain one.",
            "left": {"model": {"shortcut": "A"}},
            "right": {"model": {"shortcut": "none"}},
        }
    ],
}

WORDS = st.sampled_from(
    ["model", "recipe", "data", "seeds", "grid", "claim", "depth", "lr", "name", "epochs", "", "é"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["", "..", "/etc/passwd", "\x1b[2J", "a" * 5000, "digits", "cifar10", "none"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("malformed")


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value in nested tables and lists."""
    if path:
        yield path
    if not isinstance(value, dict | list):
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from paths_of(item, (*path, key))


def copy_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: copy_of(item) for key, item in value.items()}
    return [copy_of(item) for item in value] if isinstance(value, list) else value


@st.composite
def changed_studies(draw: st.DrawFn) -> bytes:
    """Return a valid study of which a value, a name or some bytes changed, or any bytes."""
    table = copy_of(VALID)
    kind = draw(st.sampled_from(["value", "value", "name", "bytes", "cut", "any"]))
    if kind in ("value", "name"):
        *parents, last = draw(st.sampled_from(list(paths_of(table))))
        container = table
        for key in parents:
            container = container[key]
        if kind == "value" or isinstance(container, list):
            container[last] = draw(VALUES.filter(lambda value: value is not None))
        else:
            container[draw(st.text(max_size=12))] = container.pop(last)
        try:
            return tomli_w.dumps(table).encode(errors="surrogatepass")
        except (TypeError, ValueError):  # None in a list has no form in TOML
            return repr(table).encode(errors="surrogatepass")
    content = tomli_w.dumps(table).encode()
    at = draw(st.integers(0, len(content)))
    if kind == "bytes":
        return content[:at] + draw(st.binary(max_size=6)) + content[at + draw(st.integers(0, 6)) :]
    return content[:at] if kind == "cut" else draw(st.binary(max_size=200))


def check_bounded(ended: Ended) -> None:
    """Check a command that may accept its input: a changed study may be a study."""
    assert ended.cpu_seconds < 2, ended.cpu_seconds
    if ended.code != 0:
        check_error_lines(ended)


def test_a_changed_study_file_is_loaded_or_refused_with_readable_lines(
    workspace: Path, amount: Callable[[int], int], figures: Callable[[str], None]
) -> None:
    run_command("study", "show", "digits", folder=workspace)  # the first command imports modules
    counts = {0: 0, 2: 0}

    @settings(
        max_examples=amount(2000), deadline=None, database=None, derandomize=True, phases=PHASES
    )
    @given(content=changed_studies())
    def check(content: bytes) -> None:
        (workspace / "study.toml").write_bytes(content)
        ended = run_command("study", "plan", "study.toml", "--no-timing", folder=workspace)
        check_bounded(ended)
        counts[ended.code] += 1

    check()
    assert counts[2] > counts[0]
    figures(
        f"{sum(counts.values()):,} study files: {counts[2]:,} refused in lines, {counts[0]:,} "
        "still studies, 0 tracebacks, each in less than 2 s"
    )


NAMES = st.one_of(
    st.sampled_from(
        [
            "train",
            "val",
            "test",
            "cat",
            "dog",
            "CAT",
            "labels.csv",
            ".hidden",
            "a b",
            "é",
            "e\u0301",
        ]
    ),
    st.text(max_size=8),
)
GOOD = [encoded(picture(seed), kind) for seed, kind in enumerate(("PNG", "JPEG", "GIF"))]
CONTENTS = st.one_of(
    st.sampled_from([*GOOD, *GOOD, b"", b"words", GOOD[0][:50], b"path,label\na,b\n"]),
    st.binary(max_size=60),
)
FILES = st.tuples(
    st.sampled_from(["a.png", "b.jpg", "c.gif", "labels.csv", "x.txt", "noname", "._a.png"]),
    CONTENTS | st.sampled_from(["link", "loop", "fifo"]),
)
TREES = st.recursive(
    st.lists(FILES, max_size=4).map(lambda files: dict(files)),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=6,
)


def valid_tree() -> dict[str, Any]:
    """Return a folder of two splits and two classes."""
    return {
        split: {
            name: {f"{number}.png": GOOD[number] for number in range(2)} for name in ("cat", "dog")
        }
        for split in ("train", "test")
    }


@st.composite
def changed_trees(draw: st.DrawFn) -> dict[str, Any]:
    """Return a valid folder of two splits and two classes, with up to three files or names
    changed.
    """
    tree = valid_tree()
    for _ in range(draw(st.integers(0, 3))):
        folder = tree
        for _ in range(draw(st.integers(0, 2))):
            inner = [value for value in folder.values() if isinstance(value, dict)]
            folder = draw(st.sampled_from(inner)) if inner else folder
        kind = draw(st.sampled_from(["add", "add", "rename", "remove"]))
        if kind == "add" or not folder:
            name, content = draw(FILES)
            folder[name] = content
        elif kind == "rename":
            folder[draw(NAMES)] = folder.pop(draw(st.sampled_from(sorted(folder))))
        else:
            folder.pop(draw(st.sampled_from(sorted(folder))))
    return tree


def write_tree(folder: Path, tree: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in tree.items():
        name = name.replace("/", "_").replace("\0", "_") or "empty"
        path = folder / ("dots" if name in (".", "..") else name)
        try:
            if isinstance(content, dict):
                write_tree(path, content)
            elif content == "link":
                path.symlink_to("/etc/hostname")
            elif content == "loop":
                path.symlink_to(folder)
            elif content == "fifo":
                os.mkfifo(path)
            else:
                path.write_bytes(content)
        except (FileExistsError, IsADirectoryError, NotADirectoryError, UnicodeEncodeError):
            continue  # a name that the file system has no room for


def test_any_folder_of_images_is_used_or_refused_with_readable_lines(
    workspace: Path, amount: Callable[[int], int], figures: Callable[[str], None]
) -> None:
    counts: dict[int, int] = {}

    @settings(
        max_examples=amount(500),
        deadline=None,
        database=None,
        derandomize=True,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    @given(tree=TREES | changed_trees())
    @example(tree=valid_tree())
    @example(
        tree=valid_tree() | {"val": {"cat": {"a.png": GOOD[0][:50]}, "dog": {"b.png": GOOD[1]}}}
    )
    def check(tree: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(dir=workspace) as name:
            folder = Path(name)
            write_tree(folder / "photos", tree)
            ended = run_command("data", "check", "photos", "--output", "out", folder=folder)
            shutil.rmtree(folder / "photos")
        counts[ended.code] = counts.get(ended.code, 0) + 1
        assert ended.cpu_seconds < 2, ended.cpu_seconds
        assert "Traceback" not in ended.text, ended.text[-3000:]
        assert len(ended.text) < 21 * 8000
        if ended.code not in (0, 5):  # 5: the folder has bad images, which are listed
            check_error_lines(ended)

    check()
    assert set(counts) == {0, 2, 5}  # a data set, a refusal, and bad images that are listed
    figures(
        f"{sum(counts.values())} folders: {counts.get(2, 0)} refused in lines, "
        f"{counts.get(5, 0)} with listed bad images, {counts.get(0, 0)} data sets, 0 tracebacks"
    )
