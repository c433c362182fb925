"""If a test kills its process, the report names the test, and the other tests still run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

DYING = """
import os
import pytest

@pytest.mark.parametrize("number", range(3))
def test_before(number): pass

def test_that_kills_its_process():
    {statement}

@pytest.mark.parametrize("number", range(3))
def test_after(number): pass
"""
FINE = """
import pytest

@pytest.mark.parametrize("number", range(6))
def test_fine(number): pass
"""


@pytest.mark.parametrize("statement", ["os.abort()", "os.kill(os.getpid(), 9)"])
def test_a_process_killed_by_a_test_fails_the_run_by_name_and_the_other_tests_still_run(
    tmp_path: Path, statement: str
) -> None:
    (tmp_path / "test_dying.py").write_text(DYING.format(statement=statement))
    for name in ("one", "other"):
        (tmp_path / f"test_{name}.py").write_text(FINE)
    options = re.search(r"^PYTEST := \S+ -m pytest (.*)$", (PROJECT / "Makefile").read_text(), re.M)
    assert options
    command = [
        sys.executable,
        "-m",
        "pytest",
        *options[1].split(),
        "-n",
        "2",
        "-p",
        "no:cacheprovider",
    ]
    command += ["-c", str(PROJECT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)]
    for _ in range(5):
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
        )
        # pytest-xdist may ask a process for tests in the instant in which it dies. It then ends
        # with this error: the run has failed as well, but names no test.
        if "cannot send (already closed?)" not in done.stdout + done.stderr:
            break
    assert done.returncode == 1, done.stdout + done.stderr
    assert "crashed while running 'test_dying.py::test_that_kills_its_process'" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 failed, 18 passed")
    assert "INTERNALERROR" not in done.stdout + done.stderr
