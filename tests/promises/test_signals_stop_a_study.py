"""Promise: after SIGTERM or Ctrl-C a study writes the checkpoints of its runs, prints the command
that continues, writes its report, and leaves no worker behind.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from helpers.processes import has_trained
from helpers.studies import LONGER, finish, outcomes, start, wait_for, workers_of


@pytest.mark.parametrize(
    ("number", "code", "more"),
    [
        (signal.SIGINT, 130, ("-j", "1")),
        pytest.param(signal.SIGINT, 130, (), marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, (), marks=pytest.mark.slow),
    ],
)
def test_a_signal_writes_checkpoints_prints_the_command_to_continue_and_leaves_no_orphan(
    tmp_path: Path,
    uninterrupted: tuple[Path, dict[str, Any]],
    number: signal.Signals,
    code: int,
    more: tuple[str, ...],
) -> None:
    study, expected = uninterrupted
    process = start(study, tmp_path, *more, *LONGER)
    assert wait_for(lambda: has_trained(tmp_path), 60)
    process.send_signal(number)
    _, output = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in output
    assert f"resnetlab study run {study}" in output
    assert not workers_of(tmp_path)
    assert list(tmp_path.glob("runs/*/checkpoints/*/MANIFEST.json"))
    assert (next(tmp_path.glob("studies/*")) / "report.html").exists()
    finish(study, tmp_path, *more, *LONGER)
    assert outcomes(tmp_path) == expected
