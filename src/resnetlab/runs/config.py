"""What decides a run's result, and the name that follows from it. Free of torch."""

from __future__ import annotations

import re
from dataclasses import replace

from resnetlab.data.config import DataIdentity
from resnetlab.models.configs import Model
from resnetlab.models.configs.bag_of_words import BagOfWords
from resnetlab.models.configs.external import External
from resnetlab.recipes.finetune import AnyRecipe, Tuning
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.schema import Whole, digest, spec

ALGORITHM_VERSION = 1
"""Raised by hand when training comes to mean something else."""

TUNING_VERSION = ALGORITHM_VERSION + 1
"""The same of fine-tuning, which shares the loop: above it by the changes that were of fine-tuning alone. The first:
random crops are resized, and colours changed, as torch has bytes, not as Pillow has."""

SCHEMA = 1
"""Of the files in a run's folder."""


@spec
class RunSpec:
    """One network, trained one way, on one cut of one data set, by one seed: a run."""

    algorithm_version: int = 0  # never the default, so that it stands in every hash
    model: Model
    data: DataIdentity
    recipe: AnyRecipe
    numerics: Numerics
    """Resolved: without `auto`."""
    seed: Whole

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits of the SHA-256 of the canonical JSON."""
        return digest(self.identity)[:10]

    @property
    def identity(self) -> RunSpec:
        """The same without what decides nothing: where a weights file lies (its content is part of a run) and its
        licence, what a recipe of fine-tuning is called, and the recipe of a bag of words, which uses none."""
        model, recipe = self.model, self.recipe
        if isinstance(model, BagOfWords):
            recipe = Recipe(epochs=1)
        if isinstance(model, External):
            model = replace(model, licence=None, weights="file" if model.sha256 else model.weights)
        if isinstance(recipe, Tuning):
            recipe = replace(recipe, name="", about="")
        return replace(self, model=model, recipe=recipe)


def run_id(run: RunSpec, data_name: str) -> str:
    """`digits-cifar-resnet56-s3-1a2b3c4d5e`: a slug for people, a hash for identity."""
    slug = re.sub(r"[^A-Za-z0-9.+-]+", "-", f"{data_name}-{run.model.slug}")[:48].strip("-")
    return f"{slug}-s{run.seed}-{run.hash}"
