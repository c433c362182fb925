"""Promise: on a full disk a command ends with exit code 4 and one line, leaves its old files whole,
and goes on once there is space.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.small import write_model
from helpers.stripes import KINDS, QUICK
from helpers.stripes import folder as stripes
from helpers.studies import LONGER, finish, finished, outcomes, start, workers_of
from helpers.tiny import tiny
from helpers.trials import TrialServer
from resnetlab.models.weights import write_weights


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


@dataclass(frozen=True)
class Writer:
    """Command that writes files."""

    name: str
    words: str
    """Command; `{here}` is the folder of its input, and it writes into its current folder."""
    code: int = 0
    """Its exit code with enough space."""


WRITERS = (
    Writer("train", "train cifar-plain8 --data {here}/photos --img-size 16 -b 8 --epochs 1"),
    Writer(
        "finetune",
        "finetune {here}/photos --model {here}/tiny.toml --recipe {quick} --train-size 16",
    ),
    Writer("evaluate", "evaluate {here}/textures {here}/photos --out scores"),
    Writer("explain", "explain {here}/textures {here}/photos/test/plain/00.png --out why.png"),
    Writer(
        "import-weights",
        "import-weights {here}/tiny.safetensors --as helpers.tiny:tiny --out model",
    ),
    Writer("data check", "data check {here}/odd", code=5),
    Writer("data describe", "data describe {here}/photos --out page"),
    Writer("data split", "data split {here}/photos --out splits.csv"),
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with photographs, a model and weights."""
    root = tmp_path_factory.mktemp("here")
    stripes(root / "photos", {"train": 6, "val": 3, "test": 3})
    stripes(root / "odd", {"train": 3, "test": 2})
    (root / "odd/train/plain/bad.png").write_bytes(b"words")
    write_model(root / "textures", classes=KINDS)
    torch.manual_seed(0)
    write_weights(root / "tiny.safetensors", tiny(num_classes=5).state_dict(), {})
    (root / "tiny.toml").write_text(
        'source = "helpers.tiny:tiny"\nweights = "tiny.safetensors"\nlicense = "Apache-2.0"\n'
        "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    )
    return root


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_each_command_that_writes(
    server: TrialServer,
    here: Path,
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
    writer: Writer,
) -> None:
    words = [word.format(here=here, quick=QUICK) for word in writer.words.split()]
    (tmp_path / "whole").mkdir()
    whole = server.run(*words, folder=tmp_path / "whole", root=tmp_path / "whole")
    assert whole.code == writer.code, whole.output
    operations = whole.operations
    assert operations
    chosen = random.Random(0).sample(range(len(operations)), min(amount(20), len(operations)))
    for at in sorted(chosen):
        folder = tmp_path / str(at)
        folder.mkdir()
        full = server.run(*words, folder=folder, root=folder, fault="ENOSPC", at=at)
        where = f"{operations[at]}: {full.output}"
        assert full.code == 4, where
        errors = [line for line in full.output.splitlines() if "resnetlab: error: " in line]
        assert len(errors) == 1, where
        assert "Traceback" not in full.output, where
        again = server.run(*words, folder=folder)
        assert again.code == writer.code, f"{where}\n{again.output}"
        shutil.rmtree(folder)
    figures(f"{writer.name}: full at {len(chosen)} of {len(operations)} operations, exit code 4")
