"""Promise: an unfinished run whose configuration, data, algorithm or torch version changed is not
continued, and the refusal names what changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.commands import Ended, run_command
from promises.conftest import ShortRun

FREE = ("diagnostics", "data.source")
"""Fields that may change between sessions: the measurements, and the path of the data."""


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory, short_run: ShortRun) -> Path:
    """Output folder with a run that has checkpoints and no result."""
    root = tmp_path_factory.mktemp("unfinished")
    data = root / "bands.npz"
    shutil.copy(short_run.data, data)
    copied = ShortRun(short_run.server, data)
    counted = copied.train(root / "whole", root=root / "whole")
    last = next(i for i, name in enumerate(counted.operations) if "result.json" in name)
    broken = copied.train(root / "out", root=root / "out", fault="kill before", at=last)
    assert broken.code == -9, broken.output
    assert copied.checkpoints(root / "out")
    return root / "out"


def check_refused(ended: Ended) -> None:
    """Check that a command refused its input in one line, before it started anything."""
    assert ended.code == 2, ended.text
    assert ended.errors.count("resnetlab: error: ") == 1, ended.errors
    assert "Traceback" not in ended.text


def state_of(folder: Path) -> dict[str, bytes]:
    """Return the content of the files of a run, except its lock and its log of attempts."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path): path.read_bytes()
        for path in files
        if path.name not in ("lock", "provenance.jsonl")
    }


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each plain value in nested tables and lists."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path


def changed(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return "" if value else "changed"


def test_a_change_of_any_field_of_run_json_is_refused(
    unfinished: Path, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    (source,) = (unfinished / "runs").iterdir()
    table = json.loads((source / "run.json").read_text())
    paths = [path for path in leaves(table) if not ".".join(map(str, path)).startswith(FREE)]
    assert len(paths) > 25
    for number, path in enumerate(paths):
        folder = tmp_path / str(number) / "runs" / source.name
        shutil.copytree(source, folder)
        copied = json.loads((folder / "run.json").read_text())
        container = copied
        for key in path[:-1]:
            container = container[key]
        container[path[-1]] = changed(container[path[-1]])
        (folder / "run.json").write_text(json.dumps(copied))
        before = state_of(folder)
        ended = run_command("resume", folder, folder=tmp_path)
        check_refused(ended)
        assert str(folder) in ended.errors, f"{path}: {ended.errors}"
        assert state_of(folder) == before, path
    figures(f"{len(paths)} fields of run.json, {len(paths)} changes refused by name")


@pytest.mark.parametrize("part", ["x_train", "y_train", "x_test", "y_test", "classes"])
def test_a_changed_value_of_the_data_is_refused(
    unfinished: Path, tmp_path: Path, part: str
) -> None:
    shutil.copytree(unfinished, tmp_path / "out")
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    arrays = dict(np.load(json.loads((folder / "run.json").read_text())["data"]["source"]))
    flat = arrays[part].reshape(-1)
    flat[0] = "other" if part == "classes" else (int(flat[0]) + 1) % 3
    np.savez(tmp_path / "other.npz", **arrays)
    ended = run_command("resume", folder, "--data", tmp_path / "other.npz", folder=tmp_path)
    check_refused(ended)
    assert "the data differ from the run's" in ended.errors


def test_another_torch_version_and_another_algorithm_version_are_refused(
    unfinished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(unfinished, tmp_path / "out")
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("resnetlab.runs.session.torch_version", lambda: "9.9.9")
        ended = run_command("resume", folder, folder=tmp_path)
    check_refused(ended)
    assert "here is 9.9.9" in ended.errors
    with monkeypatch.context() as patch:
        patch.setattr("resnetlab.runs.config.ALGORITHM_VERSION", 99)
        ended = run_command("resume", folder, folder=tmp_path)
    check_refused(ended)
    assert "algorithm_version" in ended.errors
    assert run_command("resume", folder, folder=tmp_path).code == 0
