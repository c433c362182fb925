"""Promise: after any single fault of a file operation (an I/O error, a full disk, a half write, a
kill before or after it) the run goes on from its last complete checkpoint and has the bits of a run
without a fault.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.faults import KINDS
from helpers.outcomes import outcome
from promises.conftest import ShortRun


def test_a_file_gets_its_name_only_after_its_content_is_on_the_disk(
    short_run: ShortRun, tmp_path: Path
) -> None:
    trial = short_run.train(tmp_path, root=str(tmp_path))
    operations = [name.split(" ", 1) for name in trial.operations]
    named = [index for index, (kind, _) in enumerate(operations) if kind in ("replace", "link")]
    assert len(named) > 5
    for index in named:
        _, file = operations[index]
        before = [kind for kind, name in operations[:index] if name == file]
        assert before[-1] == "fsync", f"{file}: {before}"
        assert "write" in before
        assert operations[index + 1][0] == "fsync", operations[index : index + 2]  # its folder


def test_one_fault_at_any_file_operation_loses_no_checkpoint(
    short_run: ShortRun,
    expected: Any,
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    counted = short_run.train(tmp_path / "counted", root=str(tmp_path / "counted"))
    assert counted.code == 0, counted.output
    operations = counted.operations
    kinds_of_operation = Counter(name.split()[0] for name in operations)
    assert set(kinds_of_operation) >= {"write", "fsync", "replace", "link"}
    trials = [(at, kind) for at in range(len(operations)) for kind in KINDS]
    chosen = random.Random(0).sample(trials, amount(len(trials)))
    for number, (at, kind) in enumerate(sorted(chosen)):
        where = f"{kind} at operation {at}, {operations[at]}"
        root = tmp_path / str(number)
        broken = short_run.train(root, fault=kind, at=at, root=str(root))
        if kind.startswith("kill"):
            assert broken.code == -9, f"{where}: {broken.output}"
        else:
            assert broken.code == 4, f"{where}: {broken.output}"
            error = broken.output.splitlines()[-1]
            assert error.startswith("resnetlab: error: "), f"{where}: {broken.output}"
            assert "Traceback" not in broken.output, f"{where}: {broken.output}"
        saved = short_run.checkpoints(root) if root.exists() else []
        finished = any(root.glob("runs/*/result.json"))
        second = short_run.train(root)
        assert second.code == 0, f"{where}: {second.output}"
        if not finished:
            assert short_run.last_start(root) == max(saved, default=0), where
        assert outcome(short_run.folder(root)) == expected, where
    figures(
        f"{len(chosen)} faults over {len(operations)} operations "
        f"({', '.join(f'{count} {name}' for name, count in sorted(kinds_of_operation.items()))}), "
        "0 results differ, 0 checkpoints lost"
    )
