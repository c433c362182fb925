"""A checkpoint is read if it is complete and refused otherwise."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnetlab.errors import InputError, ResourceError
from resnetlab.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from resnetlab.runs.paths import saved_steps


def checkpoint(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    state = {
        "model/a": torch.randn(3, 4, generator=generator),
        "optimizer/step": torch.tensor(float(step)),
    }
    return Checkpoint(
        {"state": state, "best": {"a": torch.arange(5)}}, {"step": step, "torch": "2"}
    )


def same(left: Checkpoint, right: Checkpoint) -> bool:
    return left.metadata == right.metadata and all(
        torch.equal(tensor, right.tensors[part][name])
        for part, values in left.tensors.items()
        for name, tensor in values.items()
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoints = tmp_path_factory.mktemp("run") / "checkpoints"
    save_checkpoint(checkpoints, checkpoint(10))
    return checkpoints


def test_a_loaded_checkpoint_equals_the_saved_one(folder: Path) -> None:
    assert same(load_checkpoint(folder, 10), checkpoint(10))


def test_the_last_two_checkpoints_are_retained(tmp_path: Path) -> None:
    for step in (1, 2, 3, 30, 200):
        save_checkpoint(tmp_path, checkpoint(step))
    assert saved_steps(tmp_path) == [30, 200]


def test_a_complete_checkpoint_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of an epoch it may be saved twice; a kill must not find it removed."""
    save_checkpoint(tmp_path, checkpoint(10))
    monkeypatch.setattr("resnetlab.runs.checkpoint.write_tensors", None)
    save_checkpoint(tmp_path, checkpoint(10))
    assert same(load_checkpoint(tmp_path, 10), checkpoint(10))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_truncated_or_flipped_checkpoint_is_accepted(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, data: st.DataObject
) -> None:
    target = tmp_path_factory.mktemp("damaged") / "checkpoints"
    shutil.copytree(folder, target)
    victim = data.draw(st.sampled_from(sorted((target / "10").glob("*.safetensors"))))
    content = victim.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    flip = data.draw(st.integers(0, 255))  # 0 means a truncated file
    victim.write_bytes(
        content[:at]
        if flip == 0
        else content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
    )
    with pytest.raises(InputError, match=victim.name):
        load_checkpoint(target, 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"metadata": 3, "files": 4}',
        '{"metadata": {}, "files": {}}',
        '{"metadata": {}, "metadata_sha256": "", "files": {"a": 1}}',
        (
            '{"metadata": {}, "metadata_sha256": "", '
            '"files": {"a": {"bytes": Infinity, "sha256": ""}}}'
        ),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    save_checkpoint(tmp_path, checkpoint(3))
    (tmp_path / "3" / "MANIFEST.json").write_text(text)
    with pytest.raises(InputError, match="MANIFEST"):
        load_checkpoint(tmp_path, 3)


def test_a_changed_value_of_a_manifest_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(3))
    path = tmp_path / "3" / "MANIFEST.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {"metadata": table["metadata"] | {"step": 4}}))
    with pytest.raises(InputError, match=r"MANIFEST\.json: differs from its SHA-256"):
        load_checkpoint(tmp_path, 3)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_after_any_single_fault_the_last_or_the_previous_checkpoint_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Each call that touches the disk fails once, in turn, while the second of two checkpoints is
    written.
    """
    count = faulty_calls(tmp_path / "dry", monkeypatch, -1, code)
    assert count > 15
    for number in range(count):
        checkpoints = tmp_path / str(number)
        faulty_calls(checkpoints, monkeypatch, number, code)
        steps = saved_steps(checkpoints)
        assert steps in ([1], [1, 2])
        assert same(load_checkpoint(checkpoints, steps[-1]), checkpoint(steps[-1]))
        save_checkpoint(checkpoints, checkpoint(2))  # the fault is over
        assert same(load_checkpoint(checkpoints, 2), checkpoint(2))
        assert sorted(p.name for p in checkpoints.iterdir()) == ["1", "2"]


def faulty_calls(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int, code: int
) -> int:
    """Save checkpoints 1 and 2, the call numbered `fail_at` of the second failing; how many calls
    there were.
    """
    save_checkpoint(checkpoints, checkpoint(1))
    seen = -1

    def guarded(plain: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == fail_at:
                raise OSError(code, os.strerror(code))
            return plain(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("fsync", "fdopen", "open", "replace", "rename", "mkdir", "unlink"):
            patch.setattr(os, name, guarded(getattr(os, name)))
        with contextlib.suppress(ResourceError):
            save_checkpoint(checkpoints, checkpoint(2))
    return seen + 1


def test_missing_space_for_a_checkpoint_is_reported_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    monkeypatch.setattr("resnetlab.runs.checkpoint.free_bytes", lambda _: 100)
    with pytest.raises(ResourceError, match="no room"):
        save_checkpoint(tmp_path, checkpoint(2))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
