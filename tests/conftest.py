"""Fixtures of many tests: a small data set, a small study, and settings of the test process."""

from __future__ import annotations

import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # a run of two threads shares the cores with other tests
# No test, nor a process that it starts, uses the cache or the configuration of the user.
os.environ["RESNETLAB_CACHE"] = tempfile.mkdtemp(prefix="resnetlab-cache-")
os.environ["XDG_CONFIG_HOME"] = os.environ["RESNETLAB_CACHE"] + "/config"
os.environ["RESNETLAB_OFFLINE"] = "0"
os.environ["LC_ALL"] = "C.UTF-8"  # pages are in the language of the locale

import atexit
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from resnetlab.studies.plan import Plan

# The fast suite uses the same few examples each time, so that it fails only because of a change;
# `make test-all` uses the other profile, which searches for new examples.
settings.register_profile("fast", max_examples=25, derandomize=True, deadline=None)
settings.register_profile("all", max_examples=200, deadline=None)
settings.load_profile("fast")

# The networks of tests are in tests/helpers; files may name them as those of a trusted package.
_CONFIG = Path(os.environ["XDG_CONFIG_HOME"]) / "resnetlab" / "config.toml"
_CONFIG.parent.mkdir(parents=True)
_CONFIG.write_text('trusted_packages = ["helpers"]\n')

atexit.register(shutil.rmtree, os.environ["RESNETLAB_CACHE"], ignore_errors=True)

# These tests find processes in /proc, fork, or use signals and process groups of POSIX.
collect_ignore = (
    []
    if sys.platform == "linux"
    else [
        "promises/test_a_full_disk_loses_no_data.py",
        "promises/test_a_non_finite_loss_damages_no_checkpoint.py",
        "promises/test_ctrl_c_at_any_time.py",
        "promises/test_damaged_files_are_refused_or_harmless.py",
        "promises/test_file_faults_lose_no_checkpoint.py",
        "promises/test_killed_ranks_start_again.py",
        "promises/test_killed_runs_resume_bit_for_bit.py",
        "promises/test_killed_studies_lose_no_finished_run.py",
        "promises/test_exhausted_memory_ends_one_run.py",
        "promises/test_serve_under_load.py",
        "promises/test_signals_stop_a_study.py",
        "promises/test_signals_write_a_checkpoint.py",
        "promises/test_two_drivers_record_each_run_once.py",
        "promises/test_workers_change_no_result.py",
        "promises/test_windows.py",
        "finetuning/test_stage_cache.py",
    ]
)

STUDY = """
name = "small"
question = "Is the residual network better?"
data = "{data}"
recipe = {{ batch_size = 16, epochs = 2, optimizer = {{ name = "adam", lr = 1e-3 }} }}
model = {{ depth = 8, widths = [4, 4, 8] }}
numerics = {{ precision = "fp32" }}
seeds = [0, 1]
[grid]
model.shortcut = ["none", "A"]
[[claim]]
statement = "A residual network is more accurate than a plain one."
left = {{ model.shortcut = "A" }}
right = {{ model.shortcut = "none" }}
"""


def small_arrays(
    per_class: int = 40, test_per_class: int = 20, seed: int = 0
) -> dict[str, np.ndarray]:
    """Three classes of 8x8 gray images: bright on the left, on the right, or in the middle; easy,
    but not trivial.
    """
    generator = np.random.default_rng(seed)
    parts: dict[str, np.ndarray] = {"classes": np.array(["left", "right", "middle"])}
    for split, count in (("train", per_class), ("test", test_per_class)):
        labels = generator.permutation(np.repeat(np.arange(3), count))
        images = generator.integers(0, 120, (len(labels), 8, 8))
        for label, columns in enumerate((slice(0, 3), slice(5, 8), slice(3, 5))):
            images[labels == label, :, columns] += 90
        parts[f"x_{split}"], parts[f"y_{split}"] = images.astype(np.uint8), labels.astype(np.int64)
    return parts


@pytest.fixture(scope="session")
def amount() -> Callable[[int], int]:
    """Return the number of trials of a promise: all in `make test-all`, else a tenth."""
    full = settings.get_current_profile_name() == "all"
    return lambda trials: trials if full else max(1, trials // 10)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests of promises recorded."""
    figures = [
        (report.nodeid, text)
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == "figures"
    ]
    if figures:
        terminalreporter.section("figures of promises")
    for node, text in sorted(figures):
        terminalreporter.write_line(f"{node}: {text}")


def pytest_collection_finish() -> None:
    """Exclude imported modules from garbage collection, which would visit all objects of torch."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)


@pytest.fixture(autouse=True, scope="session")
def _one_core() -> Iterator[None]:
    """Limit runs in test processes to one thread, because the processes share the cores."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("resnetlab.training.resolve.available_cpus", lambda: 1)
        yield


@pytest.fixture(scope="session")
def train_here() -> Callable[[Plan, Path], None]:
    """Train the runs of a plan in this process, which saves the import of torch in a worker."""

    def train(plan: Plan, root: Path) -> None:
        from resnetlab.recipes.numerics import Placement
        from resnetlab.studies.executors.messages import Job, RunEvent, make_request
        from resnetlab.studies.executors.worker import JobRunner

        events: list[RunEvent] = []
        runner = JobRunner(lambda: False, events.append)
        for run in plan.runs:
            runner.run(make_request(Job(run.id, run.file), root, Placement()))
            assert events[-1].kind == "finished", events[-1]

    return train


@pytest.fixture(scope="session")
def small_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the three classes as an .npz."""
    path = tmp_path_factory.mktemp("data") / "bands.npz"
    np.savez(path, **small_arrays())
    return path


@pytest.fixture(scope="session")
def study_text(small_npz: Path) -> str:
    """Return a study of two conditions and two seeds; a run takes one or two seconds."""
    return STUDY.format(data=small_npz)


@pytest.fixture
def study_file(tmp_path: Path, study_text: str) -> Path:
    """File with the study of `study_text`."""
    path = tmp_path / "small.toml"
    path.write_text(study_text)
    return path


@pytest.fixture
def calls() -> Callable[[Callable[[], object]], int]:
    """Count the function calls of an action: its work, independent of the load of the machine."""

    def count(action: Callable[[], object]) -> int:
        made = 0

        def called(_: object, event: str, __: object) -> None:
            nonlocal made
            made += event in ("call", "c_call")

        action()  # the first call also imports modules
        sys.setprofile(called)
        try:
            action()
        finally:
            sys.setprofile(None)
        return made

    return count
