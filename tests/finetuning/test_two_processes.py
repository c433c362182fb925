"""torchrun divides a fine-tuning between two processes, and the loss stays nearly the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.processes import environment
from resnetlab.model_folder.store import load_model_folder


def tuned(output: Path, photos: Path, backbone: Path, *starter: str) -> dict[str, Any]:
    """Run `finetune` with the launcher `starter` and return its record."""
    words = [
        "-m",
        "resnetlab",
        "finetune",
        str(photos),
        "--model",
        str(backbone),
        "--epochs",
        "2",
        "--time-limit",
        "0",
    ]
    subprocess.run(
        [sys.executable, *starter, *words, "--output", str(output)],
        env=environment(),
        check=True,
        capture_output=True,
        timeout=280,
    )
    (path,) = output.glob("reports/*/finetune.json")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


@pytest.mark.slow
def test_two_processes_fine_tune_a_network_as_one_process_does(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    one = tuned(tmp_path / "one", photos, backbone)
    two = tuned(
        tmp_path / "two",
        photos,
        backbone,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
    )
    assert len(one["stages"]) == len(two["stages"]) > 1
    for alone, shared in zip(one["stages"], two["stages"], strict=True):
        assert (alone["name"], alone["trainable_parameters"], alone["epochs"]) == (
            shared["name"],
            shared["trainable_parameters"],
            shared["epochs"],
        )
    frozen = [record["stages"][0]["validation"]["loss_nats"] for record in (one, two)]
    assert frozen[0] == pytest.approx(frozen[1], rel=0.02)  # bf16, in sums of other lengths
    (model,) = (tmp_path / "two").glob("models/*")
    assert len(load_model_folder(model).file.classes) == 3
