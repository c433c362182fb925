"""A finished run, opened to be looked at: its network, its data. Trains nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.data.resident import Resident
from resnetlab.data.spec import Dataset
from resnetlab.data.splits import load
from resnetlab.errors import mistake
from resnetlab.models.weights import load_weights, read_weights
from resnetlab.runs.directory import RunDirectory, check_finished
from resnetlab.runs.record import RunFile
from resnetlab.training.accelerate import prepare
from resnetlab.training.loop import Learner
from resnetlab.training.recipe import Recipe
from resnetlab.training.tuning import Tuning


@dataclass(frozen=True)
class Finished:
    """The run's file, its data, and a learner with the weights by which it was judged, at its last step."""

    file: RunFile
    dataset: Dataset
    learner: Learner

    @property
    def train(self) -> Resident:
        """The train split on the learner's device."""
        return Resident.of(self.dataset.train, self.learner.device)

    @property
    def test(self) -> Resident:
        """The test split on the learner's device."""
        return Resident.of(self.dataset.test, self.learner.device)


def open_finished(folder: Path, data: str = "", say: Callable[[str], None] = lambda _: None) -> Finished:
    """The run in `folder`; `data` says where the data lie now. Raises InputError: not finished, or other data."""
    directory = RunDirectory(folder)
    check_finished(folder)
    file = directory.file()
    recipe_of(file)
    source = replace(file.data, source=data) if data else file.data
    dataset = load(source, folder.resolve().parent.parent / "cache", say)
    if dataset.identity != file.run.data:
        raise mistake(str(folder), "the data differ from the run's", "--data with the data that it was trained on")
    return finished(directory, file, dataset)


def finished(directory: RunDirectory, file: RunFile, dataset: Dataset) -> Finished:
    """As `open_finished`, with the file and the data at hand."""
    run = file.run
    device = prepare(run.numerics)
    recipe = recipe_of(file)
    learner = Learner(run.model, recipe, run.numerics, run.seed, dataset.train, len(dataset.classes), device)
    load_weights(learner.model, read_weights(directory.path / "weights.safetensors")[0], str(directory.path))
    learner.average = []  # the weights that were kept are those by which the run was judged
    result = directory.result()
    learner.step = result.chosen_step if result else learner.total
    return Finished(file, dataset, learner)


def recipe_of(file: RunFile) -> Recipe:
    """The recipe of a run that trains from first weights. Raises InputError of one that is fine-tuning."""
    recipe = file.run.recipe
    if isinstance(recipe, Tuning):
        what = "a run of fine-tuning, which has no steps of training from first weights"
        raise mistake(file.data_name, what, "resnetlab predict, evaluate or explain take its folder")
    return recipe
