"""Block ablation of a finished run, after its training."""

from __future__ import annotations

from pathlib import Path

from resnetlab.errors import Problem
from resnetlab.inspection.block_ablation import ablate_blocks
from resnetlab.inspection.diagnostics_records import BlockAblations
from resnetlab.messages import Notify, silent
from resnetlab.runs.lifecycle import RunLockedError
from resnetlab.runs.load import open_run
from resnetlab.runs.run_folder import RunFolder


def measure_blocks(folder: Path, data: str = "", notify: Notify = silent) -> BlockAblations:
    """Measure the accuracy of a finished run without each of its blocks; write nothing.

    Args:
        folder: Folder of the run.
        data: Present path of the data, if it has changed.
        notify: Function that gets a line about the data.

    Raises:
        InputError: The run is not finished, or the data differ from its data.
    """
    run = open_run(folder, data, notify)
    return ablate_blocks(run.state, run.test_images())


def measure_block_sets(folder: Path, data: str = "", notify: Notify = silent) -> BlockAblations:
    """Measure the accuracy without sets of blocks too, and write it into the folder of the run.

    The arguments and errors are those of `measure_blocks`.

    Raises:
        RunLockedError: Another process works on the run.
    """
    run_folder = RunFolder(folder)
    with run_folder.lock() as acquired:
        if not acquired:
            message = "another process works on this run"
            raise RunLockedError(Problem(str(folder), message, "wait for it"))
        run = open_run(folder, data, notify)
        ablations = ablate_blocks(run.state, run.test_images(), with_sets=True)
        if ablations.sets:
            run_folder.measurements.save_block_ablation(ablations)
        return ablations
