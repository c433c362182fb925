"""Promise: two processes that train the same run, or two drivers of one study, record each run
once.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.outcomes import outcome
from helpers.studies import LONGER, events_of, outcomes, start
from helpers.trials import TrialServer
from promises.conftest import ShortRun


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialServer]:
    """Second server of trials, so that two run at once."""
    started = TrialServer(tmp_path_factory.mktemp("rival"))
    yield started
    started.close()


def test_two_racing_processes_record_one_run_once(
    short_run: ShortRun,
    rival: TrialServer,
    expected: Any,
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    generator, races, kills = random.Random(0), amount(100), 0
    for number in range(races):
        root = tmp_path / str(number)
        short_run.server.start(*short_run.arguments(root))
        time.sleep(generator.choice((0, generator.uniform(0, 0.5))))
        rival.start(*short_run.arguments(root))
        killed = number % 3 == 2
        if killed:
            time.sleep(generator.uniform(0, 0.5))
            short_run.server.kill()
        first, second = short_run.server.wait(), rival.wait()
        assert second.code == 0, second.output
        assert first.code in ((0, -9) if killed else (0,)), first.output
        kills += first.code == -9
        run = short_run.folder(root)
        assert outcome(run) == expected
        lines = (run / "provenance.jsonl").read_text().splitlines()
        events = [json.loads(line)["event"] for line in lines]
        begun = [event for event in events if event in ("start", "resume")]
        assert len(begun) == 1 or first.code == -9, events
    figures(f"{races} races, {kills} with a killed rival, each run recorded once, 0 bits differ")


@pytest.mark.slow
def test_two_drivers_on_one_study_record_each_run_once(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any]]
) -> None:
    study, expected = uninterrupted
    drivers = [start(study, tmp_path, "-j", "1", *LONGER) for _ in range(2)]
    for driver in drivers:
        _, output = driver.communicate(timeout=240)
        assert driver.returncode == 0, output
    assert outcomes(tmp_path) == expected
    for path in tmp_path.glob("runs/*/provenance.jsonl"):
        assert events_of(path) == ["start"]
