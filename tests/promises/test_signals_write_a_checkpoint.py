"""Promise: after SIGTERM or Ctrl-C a run writes a checkpoint, prints the command that continues,
and ends with code 143 or 130 within 30 seconds.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from promises.conftest import ShortRun


def test_signals_at_random_instants_end_a_run_with_a_checkpoint(
    short_run: ShortRun,
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    generator = random.Random(0)
    stopped, slowest, phases = 0, 0.0, 0
    for index in range(amount(50)):
        root = tmp_path / str(index)
        number = generator.choice((signal.SIGINT, signal.SIGTERM))
        short_run.server.start(*short_run.arguments(root, epochs=400))
        deadline = time.monotonic() + 60
        while not any(root.glob("runs/*/provenance.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 2))
        start = time.monotonic()
        short_run.server.kill(number)
        trial = short_run.server.wait()
        slowest = max(slowest, time.monotonic() - start)
        assert trial.code == 128 + number, trial.output
        assert "Traceback" not in trial.output, trial.output
        assert f"resnetlab resume {short_run.folder(root)}" in trial.output, trial.output
        stopped += 1
        phases += bool(short_run.checkpoints(root))
    assert phases
    assert slowest < 30  # generous: the promise is that no signal is ignored
    figures(f"{stopped} signals, {phases} after the first step, slowest end {slowest:.1f} s")
