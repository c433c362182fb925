"""Storage of frozen backbones: one file for all runs that start from the same pre-trained weights.

The files are in the folder `backbones` beside `runs`, each named by the SHA-256 of its tensors. A
run keeps the tensors that its training changed, and `resnetlab.models.weights.read_weights` puts
the two together.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.models.tensorfile import backbone_file, open_safetensors
from resnetlab.models.transfer import find_head
from resnetlab.models.weights import state_dict_hash, write_tensors
from resnetlab.recipes.finetune import FinetuneRecipe


def store_backbone(
    finetune_model: FinetuneModel, recipe: FinetuneRecipe, weights_path: Path
) -> str:
    """Store the network without its classifier, before training, unless it is there already.

    Args:
        finetune_model: Network with its pre-trained weights.
        recipe: Recipe of the run.
        weights_path: Path of the weights that the run will have.

    Returns:
        The SHA-256 of the stored tensors; empty if a stage of the recipe trains every layer.

    Raises:
        ResourceError: The disk is full.
    """
    if any(stage.trainable in ("all", 0) for stage in recipe.stages):
        return ""
    head, _ = find_head(finetune_model.model, finetune_model.config.slug)
    tensors = {
        name: tensor
        for name, tensor in finetune_model.model.state_dict().items()
        if not name.startswith(f"{head}.")
    }
    digest = state_dict_hash(tensors)
    path = backbone_file(weights_path, digest)
    if finetune_model.world.is_main_process and not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, {})
    return digest


def without_backbone(
    tensors: dict[str, Tensor], digest: str, weights_path: Path
) -> dict[str, Tensor]:
    """Return the tensors that are not in the stored backbone or differ from it in a bit."""
    with open_safetensors(backbone_file(weights_path, digest), "pt") as file:
        names = set(file.keys())
        return {
            name: tensor
            for name, tensor in tensors.items()
            if name not in names or not torch.equal(tensor.detach().cpu(), file.get_tensor(name))
        }
