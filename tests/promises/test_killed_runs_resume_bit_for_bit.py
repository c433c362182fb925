"""Promise: a process that is killed at any instant loses at most one epoch or 30 seconds of
training, whichever is longer, and the run that goes on has the bits of one that nothing
interrupted.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.outcomes import outcome
from helpers.phases import AFTER, BEFORE, BETWEEN, LAST, PHASES, WRITE, Phases
from promises.conftest import ShortRun

SLOW = "helpers.injections:slow_steps 0.02"
"""Makes the phases between the checkpoints as long as the others."""

LAST_CHECKPOINT = 6
"""Step of the last checkpoint: they follow each third step and the first of two epochs."""

OPERATIONS = 14
"""File operations of a checkpoint, about."""


def test_runs_killed_at_random_instants_have_the_bits_of_uninterrupted_ones(
    short_run: ShortRun,
    expected: Any,
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    generator = random.Random(0)
    counts, resumed, index = Counter[str](), 0, 0
    # A kill may miss its phase, so a few more may be needed until each phase has one.
    while counts.total() < amount(200) or (
        counts.total() < 2 * amount(200) and not all(counts[phase] for phase in PHASES)
    ):
        root = tmp_path / str(index)
        index += 1
        for aim in sorted(generator.choices(PHASES, k=generator.randint(1, 3)), key=PHASES.index):
            if phase := kill_once(short_run, root, aim, generator):
                counts[phase] += 1
        saved = short_run.checkpoints(root) if root.exists() else []
        finished = any(root.glob("runs/*/result.json"))
        trial = short_run.train(root)
        assert trial.code == 0, trial.output
        if not finished:
            assert short_run.last_start(root) == max(saved, default=0)
            resumed += 1
        assert outcome(short_run.folder(root)) == expected
    assert all(counts[phase] for phase in PHASES), counts
    phases = ", ".join(f"{counts[phase]} {phase}" for phase in (*PHASES, AFTER))
    figures(
        f"{counts.total()} kills ({phases}), {resumed} resumed runs, 0 bits differ, "
        "0 checkpoints lost"
    )


def kill_once(short_run: ShortRun, root: Path, aim: str, generator: random.Random) -> str:
    """Begin or continue the run, kill it in a phase, and return the phase in which it really was;
    an empty text if it ended before.

    A phase is aimed at by its first file and a random delay, except the write of a checkpoint: it
    takes milliseconds, so the process kills itself at one of its file operations.
    """
    phases = Phases(root, LAST_CHECKPOINT)
    fault: dict[str, Any] = {}
    if aim == WRITE:
        kind = generator.choice(("kill before", "kill after"))
        fault = {"root": root, "part": "checkpoints/", "fault": kind}
        fault["at"] = generator.randrange(OPERATIONS)
    short_run.server.start(*short_run.arguments(root), prepare=SLOW, **fault)
    if aim == BEFORE:
        time.sleep(generator.uniform(0, 0.5))
    elif aim in (BETWEEN, LAST) and phases.wait_for(aim, short_run.server.is_alive):
        time.sleep(generator.uniform(0, 0.1))
    if aim != WRITE:
        short_run.server.kill()
    if short_run.server.wait().code == 0:
        return ""
    runs = phases.by_run()
    return next(iter(runs.values())) if runs else BEFORE
