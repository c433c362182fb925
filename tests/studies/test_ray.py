"""A Ray cluster trains studies on real nodes on this machine, also if one of them is killed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import resnetlab as rl
from helpers.processes import import_path
from resnetlab.runs.records import RunRecord
from resnetlab.studies.execution import past_runs

STUDY = """
name = "cluster"
question = "Do machines change a result?"
data = {{ source = "{data}", validation = 0.0 }}
recipe = {{ batch_size = 8, epochs = {epochs}, optimizer = {{ name = "adam" }} }}
model = {{ depth = 8, widths = [4, 4, 8], shortcut = "none" }}
seeds = [0, 1, 2]
"""

DRIVER = """
import sys
from pathlib import Path
import resnetlab as rl
from resnetlab.studies.executors.ray import RayExecutor
study, output, address = sys.argv[1:]
executor = RayExecutor(Path(output), rl.Placement(checkpoint_seconds=0), address)
outcome = rl.load_study(study).run(output, executor=executor)
sys.exit(0 if outcome.is_finished else 3)
"""

NODE: dict[str, Any] = {
    "num_cpus": 1,
    "num_gpus": 0,
    "object_store_memory": 80_000_000,
    "include_dashboard": False,
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one processor each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", import_path())
    utils = pytest.importorskip("ray.cluster_utils")
    nodes = utils.Cluster(initialize_head=True, head_node_args=NODE)
    yield nodes
    nodes.shutdown()


def begin(study: Path, output: Path, address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(study), str(output), address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def checkpointed(output: Path) -> list[Path]:
    """Return the runs that have a checkpoint and no result."""
    runs = {path.parents[2] for path in output.glob("runs/*/checkpoints/*/MANIFEST.json")}
    return [run for run in runs if not (run / "result.json").exists()]


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def bits(records: list[RunRecord]) -> dict[str, Any]:
    """Return everything of each run that must not depend on the machine: all but clocks."""
    return {
        record.id: (
            record.result
            and (record.result.status, record.result.weights_sha256, record.result.test),
            [
                (line.step, line.split, line.loss_nats, line.top1_error_pct)
                for line in record.metrics
            ],
        )
        for record in records
    }


def test_a_study_on_a_cluster_that_loses_a_machine_has_the_bits_of_a_local_one(
    cluster: Any, small_npz: Path, tmp_path: Path
) -> None:
    study = tmp_path / "cluster.toml"
    study.write_text(STUDY.format(data=small_npz, epochs=40))
    second = cluster.add_node(**NODE)
    driver = begin(study, tmp_path / "ray", cluster.address)
    wait_for(lambda: len(checkpointed(tmp_path / "ray")) == 2, driver)
    cluster.remove_node(second, allow_graceful=False)
    output_text, _ = driver.communicate(timeout=200)
    assert driver.returncode == 0, output_text
    events = [
        json.loads(line)
        for path in (tmp_path / "ray").glob("runs/*/provenance.jsonl")
        for line in path.read_text().splitlines()
    ]
    lost = [event for event in events if event["event"] == "failed"]
    assert len(lost) == 1
    assert "machine or process was lost" in lost[0]["reason"]
    assert [event["step"] > 0 for event in events if event["event"] == "resume"] == [True]

    rl.load_study(study).run(tmp_path / "local", workers=1)
    on_cluster, here = (bits(past_runs(tmp_path / name)) for name in ("ray", "local"))
    assert len(here) == 3
    assert on_cluster == here


@pytest.mark.slow
def test_another_driver_continues_after_a_driver_stopped_or_died(
    cluster: Any, small_npz: Path, tmp_path: Path
) -> None:
    study, output = tmp_path / "cluster.toml", tmp_path / "ray"
    study.write_text(STUDY.format(data=small_npz, epochs=60))
    words = [
        sys.executable,
        "-m",
        "resnetlab",
        "study",
        "run",
        str(study),
        "--output",
        str(output),
        "--seeds",
        "2",
    ]
    words += ["--executor", "ray", "--address", cluster.address]

    def drive() -> subprocess.Popen[str]:
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    stopped = drive()
    wait_for(lambda: list(output.glob("runs/*/metrics.jsonl")), stopped)
    stopped.send_signal(signal.SIGINT)
    output_text, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, output_text
    assert "To continue: resnetlab study run" in output_text
    assert checkpointed(output)

    killed = drive()
    wait_for(lambda: list(output.glob("runs/*/result.json")), killed)
    killed.kill()
    killed.communicate()

    last = drive()
    output_text, _ = last.communicate(timeout=200)
    assert last.returncode == 0, output_text
    rl.load_study(study, seeds=2).run(tmp_path / "local", workers=1)
    assert bits(past_runs(output)) == bits(past_runs(tmp_path / "local"))


@pytest.mark.parametrize(
    ("words", "output_text"),
    [
        (
            ["--executor", "slurm"],
            "executor: no such executor (got slurm; allowed: local, ray). Fix: --executor local",
        ),
        (["--executor", "ray", "--address", "127.0.0.1:1"], "address: no Ray cluster answers"),
        (
            ["--executor", "ray", "--address", "ray://127.0.0.1:10001"],
            (
                "address: the address of a Ray client; this command runs on a machine of the "
                "cluster (got ray://127.0.0.1:10001). Fix: --address HOST:PORT"
            ),
        ),
    ],
)
def test_an_absent_executor_is_reported_in_one_line(
    words: list[str], output_text: str, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "resnetlab",
        "study",
        "run",
        "digits",
        "--output",
        str(tmp_path),
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert output_text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def driver_environment(folder: Path, marker: Path) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("resnetlab", "torch")}
    return {
        "folder": str(folder),
        "marker": str(marker),
        "marker_text": "7",
        "versions": versions,
        "variables": {},
    }


def test_every_machine_uses_the_cache_folder_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_executor = pytest.importorskip("resnetlab.studies.executors.ray")
    marker = tmp_path / "cluster"
    marker.write_text("7")
    monkeypatch.setenv("RESNETLAB_CACHE", "/of/this/machine")
    monkeypatch.chdir(tmp_path)
    here = driver_environment(tmp_path, marker)
    ray_executor.enter_driver_environment(here)
    assert os.environ["RESNETLAB_CACHE"] == "/of/this/machine"
    ray_executor.enter_driver_environment(
        here | {"variables": {"RESNETLAB_CACHE": str(tmp_path / "shared")}}
    )
    assert os.environ["RESNETLAB_CACHE"] == str(tmp_path / "shared")


def test_differences_between_a_machine_and_the_driver_are_reported(tmp_path: Path) -> None:
    ray_executor = pytest.importorskip("resnetlab.studies.executors.ray")
    marker = tmp_path / "cache" / "cluster"
    here = driver_environment(tmp_path, marker)
    with pytest.raises(rl.InputError, match=r"does not see .* storage that all machines share"):
        ray_executor.enter_driver_environment(here)
    with pytest.raises(rl.InputError, match=r"another torch than the driver's .*allowed: 1\.0"):
        ray_executor.enter_driver_environment(
            here | {"versions": here["versions"] | {"torch": "1.0"}}
        )
