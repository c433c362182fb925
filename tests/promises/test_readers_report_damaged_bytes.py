"""Promise: no reader of a file or a request fails otherwise than with an error in a line, whatever
bytes it reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.fuzz import COUNT, CRASH, ERROR, NAMES, REGRESSIONS
from helpers.trials import TrialServer

COUNTS = {"image": 5000, "body": 1000, "labels": 1000, "study": 500}
"""Number of inputs in full; of other readers 2,000. 2,000 more studies are those of
`test_malformed_input_is_refused_in_a_line.py`.
"""

SECONDS = 120
"""Time of each reader in full."""


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_reports_damaged_files_without_a_traceback(
    server: TrialServer,
    tmp_path: Path,
    name: str,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    count, seconds = amount(COUNTS.get(name, 2000)), amount(SECONDS)
    trial = server.run(prepare=f"helpers.fuzz:fuzz {name} {count} {seconds} {tmp_path}")
    crash, error = tmp_path / CRASH, tmp_path / ERROR
    if crash.exists():
        content = crash.read_bytes()
        REGRESSIONS.mkdir(exist_ok=True)
        target = REGRESSIONS / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}"
        target.write_bytes(content)
        text = error.read_text() if error.exists() else f"code {trial.code}"
        pytest.fail(f"the reader of {name} failed; its input is now {target}\n{text}")
    assert trial.code == 0, trial.output
    num_inputs = int((tmp_path / COUNT).read_text())
    old = len(list(REGRESSIONS.glob(f"{name}-*")))
    assert num_inputs > old
    figures(f"{name}: {num_inputs - old:,} damaged inputs and {old} that once failed")
