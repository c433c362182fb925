"""Configuration of a run and the run id that follows from it. Free of torch."""

from __future__ import annotations

import re
from dataclasses import replace

from resnetlab.data.config import DataIdentity
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.external import ExternalConfig
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.runs.kinds import RunKind, kind_of
from resnetlab.schema import NonNegativeInt, config_hash, strict_dataclass

ALGORITHM_VERSION = 1
"""Version of the training algorithm. A change of the results of training increases it by hand."""

FINETUNE_VERSION = ALGORITHM_VERSION + 3
"""Version of the fine-tuning algorithm: `ALGORITHM_VERSION` of the common loop plus the number of
changes to fine-tuning alone. Change 1: torch, not Pillow, resizes the random crops and jitters the
colors. Change 2: a class weight multiplies the whole smoothed loss of an image, and of learning
rates with the same validation accuracy the one with the lowest smoothed loss is taken. Change 3:
the constant features of train images are computed with all threads of the run, as others are."""


@strict_dataclass
class RunConfig:
    """Configuration of a run: one network, one recipe, one split of one data set, and one seed."""

    algorithm_version: int = 0  # never has its default value, so that it is part of every hash
    """Version of the training algorithm, so that a change of its results changes every id."""
    model: ModelConfig
    """Network with all its fields."""
    data: DataIdentity
    """Content and splits of the data, never a path."""
    recipe: AnyRecipe
    """Recipe with all its fields."""
    numerics: Numerics
    """Resolved numerics, without `auto`."""
    seed: NonNegativeInt
    """Seed from which every random number of the run follows."""

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits of the SHA-256 of the canonical JSON."""
        return config_hash(self.identity)[:10]

    @property
    def identity(self) -> RunConfig:
        """Configuration without fields that cannot change the result.

        These are the path of a weights file (its content counts) and its license, the name of a
        fine-tuning recipe, and the recipe of a bag of words, which does not use it.
        """
        model, recipe = self.model, self.recipe.identity
        if not self.kind.uses_recipe:
            recipe = Recipe(epochs=1)
        if isinstance(model, ExternalConfig):
            model = replace(model, license=None, weights="file" if model.sha256 else model.weights)
        return replace(self, model=model, recipe=recipe)

    @property
    def kind(self) -> RunKind:
        """Kind of the run."""
        return kind_of(self.model, self.recipe)


def algorithm_version(kind: RunKind) -> int:
    """Return the version of the algorithm that trains a run of this kind."""
    return FINETUNE_VERSION if kind.has_stages else ALGORITHM_VERSION


def run_id(run: RunConfig, data_name: str) -> str:
    """Return the id of a run, a readable slug and a hash: `digits-cifar-resnet56-s3-1a2b3c4d5e`."""
    slug = re.sub(r"[^A-Za-z0-9.+-]+", "-", f"{data_name}-{run.model.slug}")[:48].strip("-")
    slug = slug.lstrip(".+-") or "run"  # a folder's name that is no path and no option
    return f"{slug}-s{run.seed}-{run.hash}"
