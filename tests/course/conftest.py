"""Fixtures of a short exercise, and of a class of students who trained it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.course import NAMES, SHORT, run_folder, train_exercise
from resnetlab.course import check, run_checks
from resnetlab.course.reference_runs import ReferenceRun, ReferenceRuns
from resnetlab.course.student import register_student


@pytest.fixture(scope="session")
def trained_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a submission of each student: one trained run of `SHORT`."""
    root = tmp_path_factory.mktemp("class")
    for name in NAMES:
        folder = root / name.replace(" ", "-")
        train_exercise(SHORT, register_student(name, folder).seed, folder)
    return root


@pytest.fixture
def submissions(trained_class: Path, tmp_path: Path) -> Path:
    """Return a copy of the class that a test may change."""
    return Path(shutil.copytree(trained_class, tmp_path / "submissions"))


@pytest.fixture
def reference(trained_class: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes runs with these accuracies the reference runs of `SHORT`."""
    submission = next(path for path in sorted(trained_class.iterdir()) if path.is_dir())
    file = run_checks.read_run(run_folder(submission)).file  # type: ignore[union-attr]

    def use(*accuracies: float) -> None:
        runs = tuple(
            ReferenceRun(
                exercise="short",
                seed=seed,
                run="",
                data="digits",
                data_sha256=file.run.data.sha256,
                parameters=file.parameters,
                status="trained",
                train_accuracy_pct=50.0,
                test_accuracy_pct=accuracy,
                test_loss_nats=1.0,
                first_loss_nats=2.3,
                train_seconds=1.0,
                processor="",
                torch="",
                commit="",
            )
            for seed, accuracy in enumerate(accuracies)
        )
        table = {"short": ReferenceRuns(runs)}
        monkeypatch.setattr(check, "reference_runs", lambda: table)
        monkeypatch.setattr("resnetlab.course.reference_runs.reference_runs", lambda: table)

    use(20.0, 30.0, 40.0, 50.0, 60.0)
    return use
