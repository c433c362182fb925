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
from helpers.trials import Trial, TrialServer
from helpers.writers import REPORT, WRITERS, Writer, assert_same, check_failed, contents

PAGE = 4096
"""Bytes of a page, the smallest part of such a disk."""

PREPARE = "helpers.injections:fork_launcher;helpers.injections:without_checkpoints"
"""Without checkpoints, because one needs 10 MB of free space."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of 32 MB of its own."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(mount)], check=False
    ).returncode:
        pytest.skip("mounting a small disk needs root")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill(disk: Path, pages: int) -> Path:
    """Leave a number of free pages, and return the file that takes the others."""
    filler, free = disk / "filler", os.statvfs(disk)
    with filler.open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - pages * PAGE))
    return filler


def used_pages(disk: Path) -> int:
    """Return the number of pages that the files of a disk take."""
    state = os.statvfs(disk)
    return (state.f_blocks - state.f_bfree) * state.f_frsize // PAGE


@pytest.mark.slow
def test_after_a_full_disk_the_study_continues_without_loss(
    small_disk: Path, uninterrupted: tuple[Path, dict[str, Any]]
) -> None:
    study, expected = uninterrupted
    filler = fill(small_disk, 30)
    process = start(study, small_disk, *LONGER)
    _, output = process.communicate(timeout=240)
    assert process.returncode == 4, output
    assert output.splitlines()[-1].startswith("resnetlab: error: ")
    assert "the disk is full" in output
    assert "Fix: free some space, then" in output
    assert not workers_of(small_disk)
    filler.unlink()
    before = finished(small_disk)
    finish(study, small_disk, *LONGER)
    after = finished(small_disk)
    assert {name: time for name, time in after.items() if name in before} == before
    assert outcomes(small_disk) == expected


@pytest.mark.slow
def test_a_study_continues_after_the_disk_was_full_at_any_point(
    server: TrialServer,
    small_disk: Path,
    study_file: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    root = small_disk / "out"
    command = ("study", "run", study_file, "--output", root, "-j", "2")
    empty = used_pages(small_disk)
    calm = server.run(*command, prepare=PREPARE)
    assert calm.code == 0, calm.output
    expected, pages = outcomes(root), used_pages(small_disk) - empty
    generator, offsets = random.Random(0), amount(20)
    for number in range(offsets):
        shutil.rmtree(root)
        room = round(pages * (number + generator.random()) / offsets)
        filler = fill(small_disk, room)
        full = server.run(*command, prepare=PREPARE)
        check_full(full, f"{room} pages free")
        assert not workers_of(small_disk)
        filler.unlink()
        before = finished(root)
        again = server.run(*command, prepare=PREPARE)
        assert again.code == 0, again.output
        assert {name: finished(root)[name] for name in before} == before
        assert outcomes(root) == expected
    figures(f"a study: full at {offsets} of {pages} pages, exit code 4, 0 bits differ")


def check_full(trial: Trial, where: str) -> None:
    """Check that a command found the disk full."""
    check_failed(trial, where)
    assert "the disk is full" in trial.output, f"{where}: {trial.output}"
    assert "Fix: free some space" in trial.output, f"{where}: {trial.output}"


@pytest.mark.parametrize("writer", [*WRITERS, REPORT], ids=lambda writer: writer.name)
def test_each_command_that_writes_reports_a_full_disk(
    server: TrialServer,
    inputs: Path,
    small_disk: Path,
    few: Callable[[int], int],
    figures: Callable[[str], None],
    writer: Writer,
) -> None:
    folder = small_disk / "out"
    writer.prepare(inputs, folder)
    empty = used_pages(small_disk)
    complete = writer.run(server, inputs, folder)
    assert complete.code == writer.code, complete.output
    expected, pages = contents(folder), used_pages(small_disk) - empty
    assert pages > 0
    rooms = sorted(random.Random(0).sample(range(pages), min(few(20), pages)))
    for room in rooms:
        shutil.rmtree(folder)
        writer.prepare(inputs, folder)
        filler = fill(small_disk, room)
        full = writer.run(server, inputs, folder)
        check_full(full, f"{room} of {pages} pages free")
        filler.unlink()
        again = writer.run(server, inputs, folder)
        assert again.code == writer.code, again.output
        assert_same(contents(folder), expected, f"{room} of {pages} pages free")
    figures(f"{writer.name}: full at {len(rooms)} of {pages} pages, exit code 4")
