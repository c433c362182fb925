"""Read access to a finished run: its network and its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.data.config import Dataset
from resnetlab.data.device_images import Resident
from resnetlab.data.splits import load
from resnetlab.errors import mistake
from resnetlab.models.weights import load_weights, read_weights
from resnetlab.recipes.finetune import Tuning
from resnetlab.recipes.train import Recipe
from resnetlab.runs.directory import RunDirectory, check_finished
from resnetlab.runs.records import RunFile
from resnetlab.training.device import prepare
from resnetlab.training.state import Learner


@dataclass(frozen=True)
class Finished:
    """Finished run: its configuration, its data, and a learner with the evaluated weights."""

    file: RunFile
    dataset: Dataset
    learner: Learner

    @property
    def train(self) -> Resident:
        """Return the train split on the learner's device."""
        return Resident.of(self.dataset.train, self.learner.device)

    @property
    def test(self) -> Resident:
        """Return the test split on the learner's device."""
        return Resident.of(self.dataset.test, self.learner.device)


def open_finished(
    folder: Path, data: str = "", say: Callable[[str], None] = lambda _: None
) -> Finished:
    """Open the finished run in `folder`. `data` is the present path of its data.

    Raises InputError if the run is not finished or the data differ.
    """
    directory = RunDirectory(folder)
    check_finished(folder)
    file = directory.file()
    recipe_of(file)
    source = replace(file.data, source=data) if data else file.data
    dataset = load(source, folder.resolve().parent.parent / "cache", say)
    if dataset.identity != file.run.data:
        raise mistake(
            str(folder),
            "the data differ from the run's",
            "--data with the data that it was trained on",
        )
    return finished(directory, file, dataset)


def finished(directory: RunDirectory, file: RunFile, dataset: Dataset) -> Finished:
    """Open a finished run from its configuration and its loaded data; see `open_finished`."""
    run = file.run
    device = prepare(run.numerics)
    recipe = recipe_of(file)
    learner = Learner(
        run.model, recipe, run.numerics, run.seed, dataset.train, len(dataset.classes), device
    )
    load_weights(
        learner.model, read_weights(directory.path / "weights.safetensors")[0], str(directory.path)
    )
    learner.average = []  # the saved weights are already the evaluated ones
    result = directory.result()
    learner.step = result.chosen_step if result else learner.total
    return Finished(file, dataset, learner)


def recipe_of(file: RunFile) -> Recipe:
    """Return the recipe of a run that trains from scratch.

    Raises InputError for a fine-tuning run.
    """
    recipe = file.run.recipe
    if isinstance(recipe, Tuning):
        what = "a run of fine-tuning, which has no steps of training from first weights"
        raise mistake(
            file.data_name, what, "resnetlab predict, evaluate or explain take its folder"
        )
    return recipe
