"""Network for an inspection: built from its config, and trained for a few epochs if asked to."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import torch

from resnetlab.data.config import Dataset
from resnetlab.data.device_images import DeviceImages
from resnetlab.messages import Notify, silent
from resnetlab.models.configs import ModelConfig
from resnetlab.models.model_cost import model_cost
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.training.batches import InMemoryBatches
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.loop import train
from resnetlab.training.training_step import TrainingStep


def build_state(
    model: ModelConfig,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    epochs: int = 0,
    notify: Notify = silent,
) -> FromScratchState:
    """Return a network on the CPU in fp32 after `epochs` epochs of `recipe`; 0 for its initial
    weights.

    No run is written. Raises InputError if the network does not take the images of the data set.
    """
    classes = len(dataset.classes)
    model_cost(model, dataset.channels, classes, dataset.image_size)
    numerics = Numerics(device="cpu", precision="fp32", memory_format="contiguous", threads=1)
    device = torch.device("cpu")
    recipe = replace(recipe, epochs=max(1, epochs), steps=None)
    state = FromScratchState(model, recipe, numerics, seed, dataset.train, classes, device)
    if epochs:
        images = DeviceImages.from_images(dataset.train, device)
        done, step = count(1), TrainingStep(state, InMemoryBatches(state, images))
        for event in train(state, step, lambda: False):
            if event == "epoch":
                loss, error = state.train_metrics()
                notify(
                    f"epoch {next(done)} of {epochs}: train loss {loss:.3f}, error {error:.1f} %"
                )
    return state
