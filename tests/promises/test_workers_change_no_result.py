"""Promise: the result of a run depends neither on the number of workers, nor on whether a driver,
a single command or a Ray cluster trains it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import resnetlab as rl
from helpers.studies import LONGER, finish, outcomes
from resnetlab.studies.plan import Plan


def test_runs_in_the_calling_process_give_the_results_of_a_worker(
    tmp_path: Path,
    uninterrupted: tuple[Path, dict[str, Any]],
    train_here: Callable[[Plan, Path], None],
    figures: Callable[[str], None],
) -> None:
    study, expected = uninterrupted
    loaded = rl.load_study(study, settings=[LONGER[1]])
    train_here(loaded.plan(tmp_path), tmp_path)
    assert outcomes(tmp_path) == expected
    figures(f"{len(expected)} runs, 0 bits differ between a worker and the calling process")


@pytest.mark.slow
def test_two_workers_give_the_results_of_one_worker(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any]], figures: Callable[[str], None]
) -> None:
    study, expected = uninterrupted
    finish(study, tmp_path, "-j", "2", *LONGER)
    assert outcomes(tmp_path) == expected
    figures(f"{len(expected)} runs, 0 bits differ between 1 and 2 workers")


@pytest.mark.slow
def test_a_ray_cluster_gives_the_results_of_one_worker(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any]], figures: Callable[[str], None]
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    study, expected = uninterrupted
    finish(study, tmp_path, "--executor", "ray", *LONGER)
    assert outcomes(tmp_path) == expected
    figures(f"{len(expected)} runs, 0 bits differ between a Ray cluster and 1 worker")
