"""Promise: memory that is exhausted ends one run, which is counted by that name with its batch size
unchanged, and ends no other run.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.outcomes import outcome
from promises.conftest import ShortRun


def test_exhausted_memory_at_random_steps_is_the_result_of_that_run_only(
    short_run: ShortRun,
    expected: Any,
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    generator, trials = random.Random(0), amount(40)
    for number in range(trials):
        root = tmp_path / str(number)
        kind = generator.choice(("out_of_memory", "out_of_host_memory"))
        step = generator.randint(1, 2 * short_run.steps_per_epoch)
        broken = short_run.train(root, prepare=f"helpers.injections:{kind} {step}")
        where = f"{kind} at step {step}: {broken.output}"
        assert broken.code == 0, where  # it is a result, by its name
        assert "out of memory" in broken.output, where
        assert "Traceback" not in broken.output, where
        run = short_run.folder(root)
        result = json.loads((run / "result.json").read_text())
        assert (result["status"], result.get("test")) == ("out of memory", None), where
        batch_size = json.loads((run / "run.json").read_text())["run"]["recipe"]["batch_size"]
        assert batch_size == short_run.batch_size, where
        assert short_run.train(root, seed=2).code == 0
        assert len(list(root.glob("runs/*/result.json"))) == 2
        again = short_run.train(root)  # a result of a run is not made again by itself
        assert again.code == 0, again.output
        assert json.loads((run / "result.json").read_text()) == result, where
        (run / "result.json").unlink()
        assert short_run.train(root).code == 0
        assert outcome(run) == expected, where
    figures(f"{trials} exhausted memories, {trials} runs named so, 0 other runs lost")
