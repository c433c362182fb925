"""Overhead of a run on a Ray cluster of eight nodes, and a study that loses a node and a process.

Run `python benchmarks/ray_cluster.py`. It starts a cluster on this machine: eight nodes of one
processor each, and a head that trains nothing. First, a study of short runs is run on the cluster
and with eight local processes. The seconds of a run that are neither training nor evaluation are
its overhead. Then, during a study of longer runs, one node and one process are killed, and the
results are compared with those of local processes. It writes `benchmarks/ray_cluster.json` and
exits with 1 if a result is missing, counted twice or different.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from machine import machine
from ray.cluster_utils import Cluster

from resnetlab.files import read_jsonl
from resnetlab.runs.records import RunRecord
from resnetlab.studies.execution import past_runs

NODES = 8
SHORT_RUNS, LONG_RUNS = 24, 12
SHORT_EPOCHS, LONG_EPOCHS = 1, 10
TIMEOUT_SECONDS = 600
MARK = "RESNETLAB_BENCHMARK"
"""Environment variable that marks the processes of this benchmark's cluster."""

NODE: dict[str, Any] = {
    "num_gpus": 0,
    "object_store_memory": 80_000_000,
    "include_dashboard": False,
}

STUDY = """
name = "cluster"
question = "How long does a run take beyond its training?"
data = {{ source = "digits", validation = 0.0 }}
recipe = {{ base = "digits", epochs = {epochs} }}
model = {{ depth = 8, widths = [4, 4, 8] }}
numerics = {{ device = "cpu", precision = "fp32" }}
seeds = {seeds}
"""

DRIVER = """
import sys
from pathlib import Path
import resnetlab as rl
from resnetlab.studies.executors.local import LocalExecutor
study, output, workers, address = sys.argv[1:]
placement = rl.Placement(checkpoint_seconds=0, workers=int(workers))
if address:
    from resnetlab.studies.executors.ray import RayExecutor
    executor = RayExecutor(Path(output), placement, address)
else:
    executor = LocalExecutor(Path(output), placement)
outcome = rl.load_study(study).run(output, executor=executor, progress=False)
sys.exit(0 if outcome.finished else 3)
"""


def main() -> int:
    """Measure, print, write; return the exit code."""
    about = machine()
    with tempfile.TemporaryDirectory() as name, cluster() as (nodes, workers):
        root = Path(name)
        short = write_study(root / "short.toml", SHORT_EPOCHS, SHORT_RUNS)
        overhead = {
            "ray": overhead_of(short, root / "short-ray", nodes.address),
            "local": overhead_of(short, root / "short-local", ""),
        }
        print(json.dumps(overhead, indent=1), flush=True)
        long = write_study(root / "long.toml", LONG_EPOCHS, LONG_RUNS)
        losses = lose_node_and_process(long, root / "long-ray", nodes, workers[-1])
        wait(start(long, root / "long-local", ""))
        losses |= compare(root / "long-ray", root / "long-local")
        print(json.dumps(losses, indent=1), flush=True)
    record = {
        **about,
        "nodes": NODES,
        "overhead": {"runs": SHORT_RUNS, "epochs": SHORT_EPOCHS, **overhead},
        "losses": {"runs": LONG_RUNS, "epochs": LONG_EPOCHS, **losses},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    wrong = losses["missing"] or losses["recorded_twice"] or losses["different"]
    return 1 if wrong else 0


@contextlib.contextmanager
def cluster() -> Iterator[tuple[Any, list[Any]]]:
    """Yield a cluster of a head without processors and eight nodes, and these nodes."""
    os.environ[MARK] = uuid.uuid4().hex
    nodes = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 0})
    try:
        yield nodes, [nodes.add_node(**NODE, num_cpus=1) for _ in range(NODES)]
    finally:
        nodes.shutdown()


def write_study(path: Path, epochs: int, runs: int) -> Path:
    """Write a study of so many seeds and return its path."""
    path.write_text(STUDY.format(epochs=epochs, seeds=list(range(runs))))
    return path


def start(study: Path, output: Path, address: str) -> subprocess.Popen[bytes]:
    """Start a study on the cluster at `address`, or with eight local processes without one."""
    words = [sys.executable, "-c", DRIVER, str(study), str(output), str(NODES), address]
    return subprocess.Popen(words)


def wait(driver: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a study. Raises RuntimeError if a run has no result."""
    if driver.wait(TIMEOUT_SECONDS):
        raise RuntimeError(f"the driver ended with code {driver.returncode}")


def overhead_of(study: Path, output: Path, address: str) -> dict[str, float]:
    """Return the seconds of a run beyond its training and evaluation, and those of the study.

    The overhead is that of the runs after the first one of each worker, whose start-up is counted
    apart: with W workers, each run takes W times the mean time between two ends of runs.
    """
    began, clock = time.monotonic(), time.time()
    wait(start(study, output, address))
    wall = time.monotonic() - began
    ends = sorted(path.stat().st_mtime for path in output.glob("runs/*/result.json"))
    later = {path.parent.name for path in output.glob("runs/*/result.json")}
    later = {name for name in later if end_of(output, name) > ends[NODES - 1]}
    records = [record for record in past_runs(output) if record.id in later]
    trained = [
        record.result.train_seconds + record.result.evaluation_seconds
        for record in records
        if record.result
    ]
    per_run = NODES * (ends[-1] - ends[NODES - 1]) / len(later)
    return {
        "seconds": round(wall, 2),
        "first_result_seconds": round(ends[0] - clock, 2),
        "run_seconds": round(per_run, 3),
        "train_and_evaluation_seconds": round(sum(trained) / len(trained), 3),
        "overhead_seconds": round(per_run - sum(trained) / len(trained), 3),
    }


def end_of(output: Path, run: str) -> float:
    """Return the time of a run's result."""
    return (output / "runs" / run / "result.json").stat().st_mtime


def lose_node_and_process(study: Path, output: Path, nodes: Any, node: Any) -> dict[str, Any]:
    """Run a study, kill a process and then a node, and return the seconds until it noticed."""
    driver = start(study, output, nodes.address)
    wait_until(lambda: len(unfinished(output)) >= NODES - 1, driver)
    os.kill(task_processes()[0], signal.SIGKILL)
    process_seconds = wait_until(lambda: failures(output) >= 1, driver)
    nodes.remove_node(node, allow_graceful=False)
    node_seconds = wait_until(lambda: failures(output) >= 2, driver)
    wait(driver)
    return {
        "process_noticed_seconds": round(process_seconds, 1),
        "node_noticed_seconds": round(node_seconds, 1),
    }


def unfinished(output: Path) -> list[Path]:
    """Return the runs that have a checkpoint and no result."""
    runs = {path.parents[2] for path in output.glob("runs/*/checkpoints/*/MANIFEST.json")}
    return [run for run in runs if not (run / "result.json").exists()]


def failures(output: Path) -> int:
    """Return the number of attempts that the driver recorded as lost."""
    return sum(len(events(path, "failed")) for path in output.glob("runs/*/provenance.jsonl"))


def events(path: Path, name: str) -> list[dict[str, Any]]:
    """Return the events of a name in a provenance file."""
    return [line for line in read_jsonl(path) if line.get("event") == name]


def task_processes() -> list[int]:
    """Return the processes of this benchmark's cluster that train a run."""
    mark, found = f"{MARK}={os.environ[MARK]}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_task = (folder / "cmdline").read_bytes().startswith(b"ray::_run_job")
            if is_task and mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def wait_until(condition: Callable[[], bool], driver: subprocess.Popen[bytes]) -> float:
    """Wait for a condition while a study runs, and return the seconds that it took.

    Raises RuntimeError if the study ends before.
    """
    began = time.monotonic()
    while not condition():
        if driver.poll() is not None or time.monotonic() - began > TIMEOUT_SECONDS:
            raise RuntimeError("the study ended, or nothing happened in time")
        time.sleep(0.1)
    return time.monotonic() - began


def compare(cluster_output: Path, local_output: Path) -> dict[str, int]:
    """Return the numbers of lost attempts, and of missing, repeated and different results."""
    on_cluster = {record.id: record for record in past_runs(cluster_output)}
    local = {record.id: record for record in past_runs(local_output)}
    paths = list(cluster_output.glob("runs/*/provenance.jsonl"))
    return {
        "lost_attempts": failures(cluster_output),
        "resumed_from_checkpoint": sum(
            event["step"] > 0 for path in paths for event in events(path, "resume")
        ),
        "missing": len(local.keys() - on_cluster.keys()),
        "recorded_twice": sum(has_repetition(record) for record in on_cluster.values()),
        "different": sum(
            bits(on_cluster[run]) != bits(local[run]) for run in local if run in on_cluster
        ),
    }


def has_repetition(record: RunRecord) -> bool:
    """Return True if an evaluation of a run was recorded twice."""
    points = [(line.step, line.split) for line in record.metrics]
    return len(points) != len(set(points))


def bits(record: RunRecord) -> Any:
    """Return all of a run that must not depend on the machine or on an interruption."""
    result = record.result
    curve = [
        (line.step, line.split, line.loss_nats, line.top1_error_pct) for line in record.metrics
    ]
    return (result and (result.status, result.weights_sha256, result.test), curve)


if __name__ == "__main__":
    sys.exit(main())
