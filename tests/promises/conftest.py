"""Fixtures of the promises: short runs that are killed, stopped or disturbed, and their expected
outcome.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.outcomes import outcome
from helpers.studies import LONGER, finish, outcomes
from helpers.trials import Trial, TrialServer
from helpers.writers import write_inputs


@dataclass
class ShortRun:
    """Training run of about a second, with a checkpoint after each epoch."""

    server: TrialServer
    data: Path
    batch_size: int = 32
    steps_per_epoch: int = 4
    """Steps of an epoch on nine tenths of 120 images; the last batch is smaller."""

    def arguments(self, root: Path, *more: str, epochs: int = 2, seed: int = 1) -> tuple[str, ...]:
        """Return the command that trains it under `root`, or goes on with it."""
        command = f"train cifar-plain8 --data {self.data} -b {self.batch_size} --epochs {epochs}"
        settings = ("model.widths=[4,4,8]", "numerics.precision=fp32", "numerics.threads=1")
        options = (word for setting in settings for word in ("--set", setting))
        return (*command.split(), *options, "--seed", str(seed), "--output", str(root), *more)

    def train(self, root: Path, /, *more: str, seed: int = 1, **fault: Any) -> Trial:
        """Train it to its end, or until it is broken."""
        return self.server.run(*self.arguments(root, *more, seed=seed), **fault)

    def folder(self, root: Path) -> Path:
        """Return the folder of the run."""
        (folder,) = (root / "runs").iterdir()
        return folder

    def checkpoints(self, root: Path) -> list[int]:
        """Return the steps of the complete checkpoints."""
        return sorted(
            int(path.parent.name) for path in root.glob("runs/*/checkpoints/*/MANIFEST.json")
        )

    def last_start(self, root: Path) -> int:
        """Return the step from which the last process started."""
        steps = []
        for line in (self.folder(root) / "provenance.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError):  # a line that a fault left incomplete
                event = json.loads(line)
                if event["event"] in ("start", "resume"):
                    steps.append(int(event["step"]))
        return steps[-1]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialServer]:
    """Server of trials, which a test process starts once."""
    started = TrialServer(tmp_path_factory.mktemp("trials"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def short_run(server: TrialServer, small_npz: Path) -> ShortRun:
    """Training run of about a second."""
    return ShortRun(server, small_npz)


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory, short_run: ShortRun) -> Any:
    """Outcome of the run that nothing interrupted."""
    root = tmp_path_factory.mktemp("uninterrupted")
    assert short_run.train(root).code == 0
    return outcome(short_run.folder(root))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory, server: TrialServer, study_text: str) -> Path:
    """Folder with photographs, a model, weights and a study with its finished runs."""
    return write_inputs(tmp_path_factory.mktemp("inputs"), server, study_text)


@pytest.fixture(scope="session")
def few(amount: Callable[[int], int]) -> Callable[[int], int]:
    """Return the number of expensive trials: all in `make test-all`, else a hundredth."""
    return lambda trials: amount(amount(trials))


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Record a line of figures, which the end of the test run prints."""
    return lambda text: record_property("figures", text)


@pytest.fixture(scope="session")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, study_text: str
) -> tuple[Path, dict[str, Any]]:
    """Return a study that was never interrupted, with one worker."""
    folder = tmp_path_factory.mktemp("whole")
    study = folder / "small.toml"
    study.write_text(study_text)
    output = finish(study, folder / "out", "-j", "1", *LONGER)
    assert "Report:" in output
    return study, outcomes(folder / "out")
