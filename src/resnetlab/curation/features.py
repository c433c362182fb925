"""Networks whose frozen features the commands on labels and extensions use.

`resnetlab.finetuning.network.frozen_features` computes the features, once for each photograph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnetlab.data.paths import is_folder
from resnetlab.data.transforms.augment import normalize
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.deploy.checks import read_accepted_model
from resnetlab.errors import input_error
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.finetuning.network.backbones import select_backbone, with_library_license
from resnetlab.finetuning.network.frozen_features import (
    FOLDER,
    features_identity,
    features_path,
    fill_batch,
    load_features,
)
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.messages import ItemCallback, silent
from resnetlab.model_folder.model_file import License, ModelFile
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.external import check_code
from resnetlab.models.photo_predictions import check_outputs
from resnetlab.models.transfer import find_head, forward_in_eval_mode
from resnetlab.recipes.numerics import Numerics, parse_device
from resnetlab.training.device import memory_format, setup_device
from resnetlab.training.resolve import resolve_numerics

DEFAULT_SIZE = 224
"""Image size in pixels of a pre-trained network, as in the recipes of fine-tuning."""

FITTED_NOTE = (
    "the features of this model were trained with labels; if they were the labels of these "
    "photographs, it has learned wrong labels too, and a pre-trained network finds more of them"
)
"""Note on the features of a model whose layers before the classifier were trained."""


@dataclass(frozen=True)
class FeatureNetwork:
    """Network in evaluation mode on a device; its features are the inputs of its classifier."""

    name: str
    module: nn.Module
    head_name: str
    """Name of the classifier, an `nn.Linear`."""
    config: ModelConfig
    transform: EvalTransform
    numerics: Numerics
    device: torch.device
    license: License
    notes: tuple[str, ...] = ()
    """Sentences on details that were assumed."""

    @property
    def head(self) -> nn.Linear:
        """Linear classifier at the end of the network."""
        head = self.module.get_submodule(self.head_name)
        assert isinstance(head, nn.Linear)
        return head

    @cached_property
    def identity(self) -> str:
        """SHA-256 of everything that determines the features of a photograph."""
        return features_identity(
            self.module, self.head_name, self.config, self.transform, self.numerics
        )

    def compute(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features (N, F) of uint8 pixels (N, H, W, C), N at most a batch.

        Raises InputError if an output is not finite.
        """
        inputs, logits = self._forward(fill_batch(pixels, self.transform))
        check_outputs(logits, self.name)
        features: NDArray[np.float32] = inputs[0][: len(pixels)].float().cpu().numpy()
        return features

    def check_last_layer(self) -> None:
        """Raise InputError if the outputs of the network are not those of its classifier."""
        side = self.transform.size
        inputs, logits = self._forward(np.zeros((1, side, side, self.transform.channels), np.uint8))
        with torch.inference_mode():
            is_last = len(inputs) == 1 and inputs[0].ndim == 2
            if is_last and torch.allclose(self.head(inputs[0]), logits, 1e-4, 1e-4):
                return
        message = "its outputs are not those of its last linear layer, so it has no features"
        raise input_error(self.name, message, "choose a network that ends in its classifier")

    def _forward(self, pixels: NDArray[np.uint8]) -> tuple[list[Tensor], Tensor]:
        """Return the inputs of the classifier at each of its calls, and the outputs."""
        mean, std = (
            torch.tensor(values, device=self.device)
            for values in (self.transform.mean, self.transform.std)
        )
        inputs: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, values: inputs.append(values[0]))
        try:
            images = normalize(torch.from_numpy(pixels).to(self.device), mean, std)
            images = images.contiguous(memory_format=memory_format(self.numerics))
            return inputs, forward_in_eval_mode(self.module, images)
        finally:
            hook.remove()


def open_network(
    model: str,
    weights: Path | None = None,
    *,
    size: int | None = None,
    device: str = "auto",
    accept_license: bool = False,
) -> FeatureNetwork:
    """Open the network whose features are used.

    Args:
        model: Folder of a model, `timm/NAME`, `torchvision/NAME`, `local-dir:FOLDER` or a TOML
            file; empty for an available pre-trained network, as in fine-tuning.
        weights: Safetensors file of pre-trained weights.
        size: Image size in pixels; None for that of the model, or 224 for a pre-trained network.
        device: Device.
        accept_license: Consent to a license that forbids commercial use.

    Raises:
        InputError: There is no such model, or its license is not accepted.
    """
    numerics, torch_device = setup_features(device)
    if model and is_folder(model):
        if weights is not None:
            message = "given together with the folder of a model, which has its weights"
            raise input_error("--weights", message, "leave --weights out")
        return open_model_folder(Path(model), numerics, torch_device, size, accept_license)
    backbone = select_backbone(model, weights, accept_license)
    check_code(backbone.config)
    backbone = with_library_license(backbone, accept_license)
    # The classifier of two outputs is never used.
    built = FinetuneModel(
        backbone.config, backbone.weights_path, ("first", "second"), 0, numerics, torch_device
    )
    network = FeatureNetwork(
        name=backbone.config.slug,
        module=built.model,
        head_name=find_head(built.model, backbone.config.slug)[0],
        config=built.config,
        transform=built.eval_transform(size or DEFAULT_SIZE),
        numerics=numerics,
        device=torch_device,
        license=backbone.license,
        notes=tuple(filter(None, (backbone.origin, *built.assumptions))),
    )
    network.check_last_layer()
    return network


def setup_features(device: str) -> tuple[Numerics, torch.device]:
    """Set this process up for the features of a network in fp32.

    Raises InputError if this machine lacks the device.
    """
    kind, index = parse_device(device)
    numerics = resolve_numerics(Numerics(device=kind, precision="fp32"), single_run=True)
    return numerics, setup_device(numerics, index)


def open_model_folder(
    folder: Path,
    numerics: Numerics,
    device: torch.device,
    size: int | None = None,
    accept_license: bool = False,
) -> FeatureNetwork:
    """Open the model in a folder; `size` replaces its image size.

    Raises InputError if there is none.
    """
    file = read_accepted_model(folder, accept_license)
    loaded_model = load_model_folder(folder)
    transform = file.eval_transform
    if size is not None and size != transform.size:
        transform = replace(transform, size=size, resize=None)
    network = FeatureNetwork(
        name=file.name,
        module=loaded_model.module.to(device).to(memory_format=memory_format(numerics)),
        head_name=find_head(loaded_model.module, file.name)[0],
        config=file.model,
        transform=transform,
        numerics=numerics,
        device=device,
        license=file.license,
        notes=_fitted_note(file),
    )
    network.check_last_layer()
    return network


def compute_features(
    network: FeatureNetwork,
    photos: PhotoSplit,
    cache: Path,
    on_item: ItemCallback = silent,
) -> NDArray[np.float32]:
    """Return the features (N, F) of photographs, from the cache or computed and stored there.

    Args:
        network: Network.
        photos: Photographs of a folder.
        cache: Cache folder of the output.
        on_item: Callback for the progress.

    Raises:
        InputError: A photograph that is not in the cache is damaged or has changed.
        ResourceError: The disk is full.
    """
    path = features_path(cache / FOLDER, network.identity)
    return load_features(photos, network.transform, network.compute, path, on_item)


def _fitted_note(file: ModelFile) -> tuple[str, ...]:
    """Return a note if the features of a model were fitted to labels."""
    recipe = file.provenance.get("recipe")
    stages = recipe.get("stages", ()) if isinstance(recipe, dict) else ()
    trained = [stage for stage in stages if stage.get("trainable", "classifier") != "classifier"]
    return (FITTED_NOTE,) if trained else ()
