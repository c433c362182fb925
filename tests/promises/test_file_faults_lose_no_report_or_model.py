"""Promise: after any single fault of a file operation of the driver of a study, of fine-tuning or
of another command that writes, each file is complete or absent, and the same command gives the
files of one without a fault.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.faults import KINDS
from helpers.trials import TrialServer
from helpers.writers import WRITERS, Writer, assert_same, check_failed, contents
from resnetlab.model_folder.read import PENDING_FILE
from resnetlab.model_folder.store import load_model_folder


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("writer", WRITERS[1:], ids=lambda writer: writer.name)
def test_one_fault_at_any_file_operation_leaves_only_complete_files(
    server: TrialServer,
    inputs: Path,
    tmp_path: Path,
    few: Callable[[int], int],
    figures: Callable[[str], None],
    writer: Writer,
) -> None:
    complete = writer.run(server, inputs, tmp_path / "whole")
    assert complete.code == writer.code, complete.output
    expected, operations = contents(tmp_path / "whole"), complete.operations
    trials = [(at, kind) for at in range(len(operations)) for kind in KINDS]
    for at, kind in sorted(random.Random(0).sample(trials, few(len(trials)))):
        where = f"{kind} at operation {at}, {operations[at]}"
        folder = tmp_path / "broken"
        broken = writer.run(server, inputs, folder, fault=kind, at=at)
        if kind.startswith("kill"):
            assert broken.code == -9, f"{where}: {broken.output}"
        else:
            check_failed(broken, where)
        check_complete(folder, expected, writer, where)
        again = writer.run(server, inputs, folder)
        assert again.code == writer.code, f"{where}: {again.output}"
        assert_same(contents(folder), expected, where)
        shutil.rmtree(folder)
    names = Counter(name.split()[0] for name in operations)
    figures(
        f"{writer.name}: {few(len(trials))} faults over {len(operations)} operations "
        f"({', '.join(f'{count} {name}' for name, count in sorted(names.items()))}), 0 other files"
    )


def check_complete(folder: Path, expected: dict[str, object], writer: Writer, where: str) -> None:
    """Check that each file of a broken command is one of the whole command, and a model loads."""
    for name, content in contents(folder).items():
        if Path(name).name == PENDING_FILE:  # the new description, until the new weights are there
            continue
        assert name in expected, f"{where}: {name}"
        if name.startswith("cache/features/"):  # it grows by whole writes
            rows, all_rows = content["features"], expected[name]["features"]  # type: ignore[index]
            assert all_rows.startswith(rows), f"{where}: {name}"
        elif Path(name).name not in writer.replaced:
            assert content == expected[name], f"{where}: {name}"
    for description in folder.glob("models/[!.]*/model.json"):
        load_model_folder(description.parent)
