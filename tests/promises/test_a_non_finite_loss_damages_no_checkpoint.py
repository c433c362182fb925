"""Promise: a loss or weight that is not finite ends the run before a good checkpoint is
overwritten, and the run counts as diverged.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from promises.conftest import ShortRun

PRECISIONS = ("fp32", "bf16-emulated")
"""bf16 itself is computed as on this processor only where it has instructions for it."""


@pytest.mark.parametrize("precision", [*PRECISIONS, "bf16"])
def test_values_that_are_not_finite_at_random_steps_end_the_run_as_diverged(
    short_run: ShortRun,
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
    precision: str,
) -> None:
    if precision == "bf16" and not torch.cpu._is_amx_tile_supported():
        pytest.skip("this processor computes bf16 without instructions of its own")
    generator, trials, count = random.Random(precision), amount(50), 0
    for number in range(trials):
        root = tmp_path / str(number)
        kind = generator.choice(("nonfinite_weight", "infinite_loss"))
        step = generator.randint(1, 2 * short_run.steps_per_epoch)
        more, log = ("--set", f"numerics.precision={precision}"), tmp_path / f"{number}.json"
        injection = f"helpers.injections:{kind} {step} {log}"
        spoiled = short_run.train(root, *more, prepare=injection)
        where = f"{kind} at step {step}: {spoiled.output}"
        assert spoiled.code == 0, where  # it is a result, by its name
        assert "diverged" in spoiled.output, where
        assert "Traceback" not in spoiled.output, where
        run = short_run.folder(root)
        result = json.loads((run / "result.json").read_text())
        assert result["status"] == "diverged", where
        assert step <= result["step"] <= step + 1, where
        assert result.get("test") is None, where
        assert not (run / "weights.safetensors").exists(), where
        saved = json.loads(log.read_text())
        assert all(entry["finite"] for entry in saved), where
        assert all(entry["step"] < step for entry in saved), where
        count += len(saved)
    assert count or trials < 10
    figures(f"{precision}: {trials} runs, all counted as diverged, {count} checkpoints, all finite")
