"""Promise: a killed process of a torchrun job starts again from the checkpoint, a job of another
size is refused, and two processes learn as one does on the whole batch.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resnetlab.cli.main import main
from resnetlab.runs.records import RunRecord
from resnetlab.studies.execution import past_runs

RECIPE = """
batch_size = 24
epochs = {epochs}
optimizer = {{ name = "sgd", lr = 0.05 }}
augment = {{ crop_padding = 2, flip = true }}
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Train a network without batch normalization on 100 images of 28 pixels; the last batch of an
    epoch has four.
    """
    root, generator = tmp_path_factory.mktemp("bars"), np.random.default_rng(0)
    labels = {"train": np.arange(100) % 4, "test": np.arange(40) % 4}
    arrays = {f"y_{split}": split_labels for split, split_labels in labels.items()}
    for split, split_labels in labels.items():
        images = generator.integers(0, 120, (len(split_labels), 28, 28))
        for number, label in enumerate(split_labels):
            images[number, :, 7 * label : 7 * label + 7] += 100
        arrays[f"x_{split}"] = images.astype(np.uint8)
    np.savez(root / "bars.npz", **arrays)
    (root / "recipe.toml").write_text(RECIPE.format(epochs=4))
    return [
        "train",
        "lenet5",
        "--data",
        str(root / "bars.npz"),
        "--recipe",
        str(root / "recipe.toml"),
        "--set",
        "numerics.precision=fp32",
        "--set",
        "data.validation=0.0",
        "--set",
        "data.test_curve=true",
    ]


def launch(size: int, *words: str, restarts: int = 0) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={size}",
    ]
    command += [f"--max-restarts={restarts}", "-m", "resnetlab", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def wait_for_output(process: subprocess.Popen[str], code: int = 0) -> str:
    output_text, _ = process.communicate(timeout=240)
    assert process.returncode == code, output_text
    return output_text


@pytest.fixture(scope="module")
def two_process_run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Train one run with two processes and return the output folder and the printed text."""
    output = tmp_path_factory.mktemp("two")
    return output, wait_for_output(launch(2, *words, "--output", str(output)))


def run_command_here(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run a command in this process and return its exit code."""
    monkeypatch.setattr("sys.argv", ["resnetlab", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def train_in_one_process(
    words: list[str], output: Path, monkeypatch: pytest.MonkeyPatch
) -> RunRecord:
    assert run_command_here(monkeypatch, *words, "--output", str(output)) == 0
    return past_runs(output)[0]


def curve(record: RunRecord) -> list[tuple[int, str, float | None]]:
    return [(line.step, line.split, line.loss_nats) for line in record.metrics]


def test_two_processes_train_as_one_does_on_the_whole_batch(
    words: list[str],
    two_process_run: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, output_text = two_process_run
    assert output_text.count("of training") == 1  # only rank 0 prints progress
    two, expected_run = (
        past_runs(output)[0],
        train_in_one_process(words, tmp_path / "one", monkeypatch),
    )
    accumulated = train_in_one_process(
        [*words, "--set", "numerics.grad_accum_steps=2"], tmp_path / "parts", monkeypatch
    )
    expected = curve(expected_run)
    assert len(expected) == 15  # train and test at 0 to 4 epochs, in training mode at each too
    for other in (two, accumulated):
        assert [line[:2] for line in curve(other)] == [line[:2] for line in expected]
        assert [line[2] for line in curve(other)] == pytest.approx(
            [line[2] for line in expected], rel=2e-5
        )
    assert (
        len({record.id for record in (two, expected_run, accumulated)}) == 3
    )  # what may change bits names the run


def ranks(agent: subprocess.Popen[str]) -> list[int]:
    """Return the processes that torchrun started, by rank."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    processes: dict[int, int] = {}
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        processes |= {
            int(item[5:]): int(child) for item in environment if item.startswith(b"RANK=")
        }
    return [processes[rank] for rank in sorted(processes)]


def wait_for_steps(output: Path, count: int, agent: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while (
        sum(len(path.read_text().splitlines()) for path in output.glob("runs/*/metrics.jsonl"))
        < count
    ):
        assert agent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes through /proc")
def test_stopped_and_killed_processes_restart_and_end_with_the_bits_of_an_undisturbed_run(
    words: list[str],
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    long = [*words, "--set", "recipe.epochs=120"]
    undisturbed = tmp_path / "calm"
    wait_for_output(launch(2, *long, "--output", str(undisturbed)))
    kills = amount(20)
    for number in range(kills):
        disturb(long, tmp_path / str(number), past_runs(undisturbed)[0], victim=number % 2)
    figures(f"{kills} stopped jobs, {kills} killed ranks, 0 bits differ")


def disturb(long: list[str], output: Path, expected: RunRecord, victim: int) -> None:
    """Stop a job by a signal and kill a rank of the next, and compare its result."""
    stopped = launch(2, *long, "--output", str(output))
    wait_for_steps(output, 60, stopped)
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate(timeout=60)
    assert list(output.glob("runs/*/checkpoints/*/MANIFEST.json"))
    assert not list(output.glob("runs/*/result.json"))

    again = launch(2, *long, "--output", str(output), restarts=1)
    lines = len(next(output.glob("runs/*/metrics.jsonl")).read_text().splitlines())
    wait_for_steps(output, lines + 60, again)
    os.kill(ranks(again)[victim], signal.SIGKILL)
    wait_for_output(again)

    actual = past_runs(output)[0]
    assert expected.result
    assert actual.result
    assert expected.result.weights_sha256 == actual.result.weights_sha256
    assert curve(expected) == curve(actual)
    provenance = next(output.glob("runs/*/provenance.jsonl")).read_text()
    events = [json.loads(line) for line in provenance.splitlines()]
    assert [event["event"] for event in events] == ["start", "stopped", "resume", "resume"]
    assert events[3]["step"] > 0


def test_another_number_of_processes_is_refused_and_the_right_one_is_named(
    two_process_run: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(two_process_run[0], tmp_path / "two")
    run = next((tmp_path / "two").glob("runs/*"))
    (run / "result.json").unlink()
    assert run_command_here(monkeypatch, "resume", str(run)) != 0
    assert f"torchrun --nproc-per-node 2 -m resnetlab resume {run}" in capfd.readouterr().err
