"""Promise: a process that is killed at any instant loses at most one epoch, and the run that goes
on has the bits of one that nothing interrupted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.outcomes import outcome
from promises.conftest import ShortRun


def test_runs_killed_at_random_instants_have_the_bits_of_uninterrupted_ones(
    short_run: ShortRun,
    expected: Any,
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    draw = random.Random(0)
    kills, resumed, index, seconds = 0, 0, 0, 1.0
    while kills < amount(200):
        root = tmp_path / str(index)
        index += 1
        for _ in range(3):
            short_run.server.start(*short_run.arguments(root))
            time.sleep(draw.uniform(0, seconds))
            short_run.server.kill()
            if short_run.server.wait().code == 0:
                break
            kills += 1
        saved = short_run.checkpoints(root) if root.exists() else []
        finished = any(root.glob("runs/*/result.json"))
        before = time.monotonic()
        trial = short_run.train(root)
        if not saved and not finished:  # a whole run: the machine may be busier than a moment ago
            seconds = time.monotonic() - before
        assert trial.code == 0, trial.output
        if not finished:
            assert short_run.last_start(root) == max(saved, default=0)
            resumed += 1
        assert outcome(short_run.folder(root)) == expected
    figures(f"{kills} kills, {resumed} resumed runs, 0 bits differ, 0 checkpoints lost")
