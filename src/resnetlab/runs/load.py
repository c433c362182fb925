"""Read access to a finished run: its network and its data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.data.config import Dataset
from resnetlab.data.device_images import DeviceImages
from resnetlab.data.splits import load_dataset
from resnetlab.errors import input_error
from resnetlab.files import sha256
from resnetlab.messages import Notify, silent
from resnetlab.models.code_hash import check_unchanged
from resnetlab.models.configs.external import check_code
from resnetlab.models.weights import load_weights, read_weights
from resnetlab.runs.kinds import from_scratch_recipe
from resnetlab.runs.lifecycle import check_data_identity
from resnetlab.runs.paths import WEIGHTS, check_finished
from resnetlab.runs.records import RunFile
from resnetlab.runs.run_folder import RunFolder
from resnetlab.training.device import setup_device
from resnetlab.training.from_scratch_state import FromScratchState


@dataclass(frozen=True)
class LoadedRun:
    """Finished run: its configuration, its data and its evaluated weights."""

    file: RunFile
    dataset: Dataset
    state: FromScratchState

    def train_images(self) -> DeviceImages:
        """Move the train split to the device and return it."""
        return DeviceImages.from_images(self.dataset.train, self.state.device)

    def test_images(self) -> DeviceImages:
        """Move the test split to the device and return it."""
        return DeviceImages.from_images(self.dataset.test, self.state.device)


def open_run(folder: Path, data: str = "", notify: Notify = silent) -> LoadedRun:
    """Open the finished run in `folder`. `data` is the path of its data if they moved.

    Raises InputError if the run is not finished or the data differ.
    """
    run_folder = RunFolder(folder)
    check_finished(folder)
    file = run_folder.file()
    check_code(file.run.model)
    check_unchanged(file.run.model, str(folder))
    from_scratch_recipe(file.run.recipe, file.data_name)
    source = replace(file.data, source=data) if data else file.data
    dataset = load_dataset(source, folder.resolve().parent.parent / "cache", notify)
    check_data_identity(file, dataset.identity, str(folder))
    return load_run(run_folder, file, dataset)


def load_run(run_folder: RunFolder, file: RunFile, dataset: Dataset) -> LoadedRun:
    """Open a finished run from its configuration and its loaded data; see `open_run`."""
    run = file.run
    device = setup_device(run.numerics)
    recipe = from_scratch_recipe(run.recipe, file.data_name)
    state = FromScratchState(
        run.model, recipe, run.numerics, run.seed, dataset.train, len(dataset.classes), device
    )
    result = run_folder.result()
    weights = run_folder.path / WEIGHTS
    if result and result.weights_sha256 and sha256(weights) != result.weights_sha256:
        message = "differs from its SHA-256 in result.json"
        raise input_error(str(weights), message, "restore it from a copy, or train the run again")
    load_weights(state.model, read_weights(weights)[0], str(run_folder.path))
    state.ema = None  # the saved weights are already the evaluated ones
    state.step = result.selected_step if result else state.total_steps
    return LoadedRun(file, dataset, state)
