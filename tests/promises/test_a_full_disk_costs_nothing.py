"""Promise: on a full disk a command ends with exit code 4 and one line, leaves its old files whole,
and goes on once there is space.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.studies import LONGER, finish, finished, outcomes, start, workers_of
from helpers.trials import TrialServer
from helpers.writers import WRITERS, Writer, assert_same, check_failed, contents


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)], check=False
    ).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill_and_go_on(disk: Path, study: Path, expected: dict[str, Any], room: int) -> None:
    filler = disk / "filler"
    free = os.statvfs(disk)
    with filler.open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - room))
    process = start(study, disk, *LONGER)
    _, output = process.communicate(timeout=240)
    assert process.returncode == 4, output
    assert output.splitlines()[-1].startswith("resnetlab: error: ")
    assert "the disk is full" in output
    assert "Fix: free some space, then" in output
    assert not workers_of(disk)
    filler.unlink()
    before = finished(disk)
    finish(study, disk, *LONGER)
    assert {name: time for name, time in finished(disk).items() if name in before} == before
    assert outcomes(disk) == expected


@pytest.mark.slow
@pytest.mark.parametrize("room", [120_000])
def test_after_a_full_disk_the_study_continues_without_loss(
    small_disk: Path, whole: tuple[Path, dict[str, Any]], room: int
) -> None:
    fill_and_go_on(small_disk, *whole, room=room)


@pytest.mark.slow
@pytest.mark.parametrize("room", range(4_096, 184_000, 9_000))
def test_a_disk_that_is_full_at_any_point_does_too(
    small_disk: Path, whole: tuple[Path, dict[str, Any]], room: int
) -> None:
    fill_and_go_on(small_disk, *whole, room=room)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_each_command_that_writes(
    server: TrialServer,
    inputs: Path,
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
    writer: Writer,
) -> None:
    whole = writer.run(server, inputs, tmp_path / "whole")
    assert whole.code == writer.code, whole.output
    expected, operations = contents(tmp_path / "whole"), whole.operations
    assert operations
    chosen = random.Random(0).sample(range(len(operations)), min(amount(20), len(operations)))
    for at in sorted(chosen):
        folder = tmp_path / str(at)
        full = writer.run(server, inputs, folder, fault="ENOSPC", at=at)
        check_failed(full, operations[at])
        assert "Fix: free some space" in full.output, full.output
        again = writer.run(server, inputs, folder)
        assert again.code == writer.code, f"{operations[at]}: {again.output}"
        assert_same(contents(folder), expected, operations[at])
        shutil.rmtree(folder)
    figures(f"{writer.name}: full at {len(chosen)} of {len(operations)} operations, exit code 4")
