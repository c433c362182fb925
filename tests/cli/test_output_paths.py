"""A path of the wrong kind is an error of one line with exit code 2, and not an unexpected one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.model_folders import write_model
from helpers.pictures import class_tree, picture, save

Resnetlab = Callable[..., tuple[int, str, str]]

LONG = "x" * 300
"""Name that is longer than a system allows."""


@pytest.fixture
def here(resnetlab: Resnetlab) -> Path:
    """Return the current folder with photographs, a model, a file and folders as targets."""
    del resnetlab  # it has changed the current folder
    folder = Path.cwd()
    class_tree(folder / "photos")
    save(folder / "photo.png", picture(3))
    write_model(folder / "pets", classes=("cat", "dog", "newt", "owl", "pig", "rat"))
    for name in ("folder", "folder.html", "folder.png"):
        (folder / name).mkdir()
    (folder / "file").write_text("mine")
    return folder


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("export pets --out folder", "folder"),
        ("data split photos --out folder", "folder"),
        ("data show photos --out folder.png", "folder.png"),
        ("predict pets photos --sheet folder.html", "folder.html"),
        ("explain pets photo.png --out folder.png", "folder.png"),
        ("explain pets photos --check --out file", "file"),
        ("evaluate pets photos --out file", "file"),
        ("data check photos --output file", "file"),
        ("data describe photos --out file", "file"),
        ("data suspects photos --out file", "file"),
        ("data enough photos --out file", "file"),
        ("data pack digits --out file", "file"),
    ],
)
def test_a_target_of_the_wrong_kind_is_refused_before_the_work(
    resnetlab: Resnetlab,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    path: str,
) -> None:
    monkeypatch.setattr("resnetlab.deploy.predict.load_model", None)
    monkeypatch.setattr("resnetlab.data.sources.folder.scan.scan_folder", None)
    code, _, errors = resnetlab(*words.split())
    assert code == 2, errors
    (line,) = errors.splitlines()
    assert line.startswith(f"resnetlab: error: {path}: --")
    assert "to be written. Fix: --" in line
    assert (here / "file").read_text() == "mine"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", ["data check", "data show"])
@pytest.mark.parametrize("size", [0, -5, 3, 200_000])
def test_an_image_size_out_of_range_is_refused(
    resnetlab: Resnetlab, command: str, size: int
) -> None:
    code, _, errors = resnetlab(*command.split(), "photos", "--img-size", size)
    assert code == 2, errors
    assert len(errors.splitlines()) == 1
    assert ("equal to 4." if size < 4 else "equal to 1024.") in errors


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "words",
    [
        f"data check {LONG}",
        f"data suspects {LONG}",
        f"data enough {LONG}",
        f"evaluate pets {LONG}",
        f"ensemble pets pets --data {LONG}",
        f"predict pets {LONG}",
        f"predict pets photo.png --sort-into {LONG}",
        f"predict pets {LONG} --watch",
        f"explain pets {LONG}",
        f"export pets --check-on {LONG}",
        f"data pack {LONG}",
    ],
)
def test_a_path_that_the_system_cannot_read_is_refused_in_one_line(
    resnetlab: Resnetlab, words: str
) -> None:
    code, _, errors = resnetlab(*words.split())
    assert code == 2, errors
    (line,) = errors.splitlines()
    assert line.startswith(f"resnetlab: error: {LONG}: ") or "--sort-into" in line
    assert "name too long" in line


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (IsADirectoryError(errno.EISDIR, "is", "part", None, "folder"), "folder: is a folder"),
        (NotADirectoryError(errno.ENOTDIR, "not", "file/figures"), "file: is a file, but a folder"),
        (FileExistsError(errno.EEXIST, "exists", "file"), "file: is a file, but a folder"),
        (PermissionError(errno.EACCES, "denied", "secret"), "secret: permission denied"),
        (OSError(errno.ENAMETOOLONG, "long", "a"), "a: its name is too long"),
    ],
)
def test_an_error_of_a_path_names_it_with_a_fix(
    resnetlab: Resnetlab, monkeypatch: pytest.MonkeyPatch, error: OSError, expected: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("resnetlab.models.registry.registered_models", fail)
    code, _, errors = resnetlab("models")
    assert code == 2, errors
    (line,) = errors.splitlines()
    assert line.startswith(f"resnetlab: error: {expected}")
    assert ". Fix: give " in line


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no", "lost"),
        FileExistsError(errno.EEXIST, "exists", "folder"),
        PermissionError("without a path"),
    ],
)
def test_an_error_that_no_path_of_the_user_explains_stays_unexpected(
    resnetlab: Resnetlab, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("resnetlab.models.registry.registered_models", fail)
    code, _, errors = resnetlab("models")
    assert code == 1
    assert "unexpected" in errors


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_the_user_may_not_read_is_refused(resnetlab: Resnetlab, here: Path) -> None:
    (here / "folder/photos").mkdir()
    (here / "folder").chmod(0)
    try:
        for words in ("data check", "data suspects", "evaluate pets", "predict pets"):
            code, _, errors = resnetlab(*words.split(), "folder/photos")
            assert code == 2, errors
            assert "permission denied" in errors
    finally:
        (here / "folder").chmod(0o700)
