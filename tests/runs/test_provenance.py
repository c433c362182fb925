"""The provenance of a run says from which commit it came, and if code was changed since."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import resnetlab

PACKAGE = Path(resnetlab.__file__).parent
ASK = (
    "from resnetlab.recipes.numerics import Numerics\n"
    "from resnetlab.runs.provenance import provenance_event\n"
    "line = provenance_event('start', 0, Numerics(device='cpu', threads=1), '')\n"
    "print(line['commit'], line['dirty'])"
)


def run(root: Path, *command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    return subprocess.run(
        command, cwd=root, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a git checkout of its own with this package in `src/`."""
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "src" / "resnetlab", ignore=skipped)
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "git", "add", "src")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    run(tmp_path, "git", *identity, "commit", "--quiet", "--message", "all")
    return tmp_path


def test_a_change_in_any_package_makes_the_provenance_dirty(checkout: Path) -> None:
    commit = run(checkout, "git", "rev-parse", "HEAD")
    assert run(checkout, sys.executable, "-c", ASK) == f"{commit} False"
    with (checkout / "src/resnetlab/training/loop.py").open("a", encoding="utf-8") as file:
        file.write("\n# a change\n")
    assert run(checkout, sys.executable, "-c", ASK) == f"{commit} True"
