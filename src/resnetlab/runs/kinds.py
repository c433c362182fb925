"""Kinds of runs: training from scratch, fine-tuning and a bag of visual words.

Other modules ask the kind of a run, not the class of its recipe or model. `studies/trainers.py` has
the functions that train a run of each kind, since they import torch. Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resnetlab.errors import input_error
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.bag_of_words import BagOfWordsConfig
from resnetlab.recipes.finetune import AnyRecipe, FinetuneRecipe
from resnetlab.recipes.train import Recipe

if TYPE_CHECKING:
    from typing_extensions import TypeIs


@dataclass(frozen=True)
class RunKind:
    """Properties that all runs of one kind share."""

    name: Literal["from scratch", "fine-tuning", "bag of words"]
    uses_photos: bool = False
    """True if the data are photographs of any size and the model starts from pre-trained weights.

    Otherwise the data are arrays of images of one size.
    """
    uses_recipe: bool = True
    """False if no field of the recipe changes the result."""
    has_diagnostics: bool = True
    """True if gradient norms and block ablations can be measured."""
    has_probabilities: bool = True
    """True if the softmax of the model's outputs gives probabilities."""
    has_stages: bool = False
    """True if a run has stages, each with its own number of steps per epoch."""


FROM_SCRATCH = RunKind("from scratch")
FINE_TUNING = RunKind("fine-tuning", uses_photos=True, has_diagnostics=False, has_stages=True)
BAG_OF_WORDS = RunKind(
    "bag of words", uses_recipe=False, has_diagnostics=False, has_probabilities=False
)


def kind_of(model: ModelConfig, recipe: AnyRecipe) -> RunKind:
    """Return the kind of a run with this model and recipe."""
    if is_fine_tuning(recipe):
        return FINE_TUNING
    return BAG_OF_WORDS if isinstance(model, BagOfWordsConfig) else FROM_SCRATCH


def is_fine_tuning(recipe: AnyRecipe) -> TypeIs[FinetuneRecipe]:
    """Return True for a fine-tuning recipe."""
    return isinstance(recipe, FinetuneRecipe)


def from_scratch_recipe(recipe: AnyRecipe, where: str) -> Recipe:
    """Return the recipe of a run that trains from scratch.

    Raises InputError for a fine-tuning recipe; `where` names the run.
    """
    if is_fine_tuning(recipe):
        problem = "it is a fine-tuning run, and this needs a run that was trained from scratch"
        raise input_error(where, problem, "use resnetlab predict, evaluate or explain")
    return recipe
