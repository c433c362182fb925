"""Fixtures of a trained study, and of the trackers whose packages are installed.

Tests that read with the real trackers need their packages: `make test-trackers` installs them.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab.studies.execution import save_plan
from resnetlab.studies.plan import Plan

NEEDS = {
    "test_tensorboard.py": "tensorboard",
    "test_mlflow.py": "mlflow",
    "test_mlflow_server.py": "flask",
    "test_wandb.py": "wandb",
    "test_trackio.py": "trackio",
}
"""Package that a test file needs. MLflow's server needs flask, which `mlflow-skinny` lacks."""

collect_ignore = [
    file for file, package in NEEDS.items() if importlib.util.find_spec(package) is None
]


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    study_text: str,
    train_here: Callable[[Plan, Path], None],
) -> Path:
    """Return an output folder with four finished runs of a study."""
    root = tmp_path_factory.mktemp("trained")
    (root / "small.toml").write_text(study_text)
    loaded = rl.load_study(root / "small.toml")
    plan = loaded.plan(root)
    save_plan(plan, root)
    train_here(plan, root)
    loaded.report(plan, root)
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "root")
    return tmp_path / "root"
