"""Frozen features of photographs: the inputs of a network's classifier, computed once each.

The features of a photograph are stored under `cache/features`, in one file for each network and
evaluation transform. A photograph is identified by the SHA-256 of its file, so a photograph that is
added later costs one forward pass, and the others cost none. Any file may be removed.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from resnetlab.bundle.reading import without_weights_source
from resnetlab.bundle.spec import License, ModelFile
from resnetlab.bundle.store import load_bundle
from resnetlab.data.photo_loader import LazyImage, load_batches
from resnetlab.data.transforms.augment import normalize
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.deploy.request import check_model
from resnetlab.errors import input_error
from resnetlab.files import json_sha256, try_lock
from resnetlab.finetune.backbones import select_backbone, with_library_license
from resnetlab.finetune.dataset import PhotoSplit
from resnetlab.finetune.model import FinetuneModel
from resnetlab.messages import ItemCallback, silent
from resnetlab.models.code_hash import PARAMETERS, with_module_hashes
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.configs.external import check_code
from resnetlab.models.transfer import classifier, forward_in_eval_mode
from resnetlab.models.weights import state_dict_hash
from resnetlab.recipes.numerics import Numerics, parse_device
from resnetlab.runs.checkpoint import write_tensors
from resnetlab.schema import encode
from resnetlab.training.device import setup_device
from resnetlab.training.photo_predictions import check_outputs
from resnetlab.training.resolve import resolve_numerics

BATCH_SIZE = 32
"""Photographs of a forward pass. The last batch is filled with black images, so that the features
of a photograph do not depend on the number of photographs that are computed with it."""

PHOTOS_PER_WRITE = 2_048
"""Photographs after whose computation the cache is written, so that an interruption loses few."""

DEFAULT_SIZE = 224
"""Image size in pixels of a pre-trained network, as in the recipes of fine-tuning."""

PACKAGES = ("torch", "torchvision", "numpy", "Pillow")
"""Packages whose arithmetic influences the features."""

FITTED_NOTE = (
    "the features of this model were trained with labels; if they were the labels of these "
    "photographs, it has learned wrong labels too, and a pre-trained network finds more of them"
)
"""Note on the features of a model whose layers before the classifier were trained."""

LOCK_SECONDS = 0.1
"""Time between two tries to get the lock of a cache file."""


@dataclass(frozen=True)
class FeatureNetwork:
    """Network in evaluation mode on a device; its features are the inputs of its classifier."""

    name: str
    module: nn.Module
    head_name: str
    """Name of the classifier, an `nn.Linear`."""
    spec: ModelConfig
    transform: EvalTransform
    device: torch.device
    license: License
    notes: tuple[str, ...] = ()
    """Sentences on facts that were assumed."""

    @property
    def head(self) -> nn.Linear:
        """Return the classifier."""
        head = self.module.get_submodule(self.head_name)
        assert isinstance(head, nn.Linear)
        return head

    @property
    def identity(self) -> str:
        """Return a SHA-256 of everything that determines the features of a photograph.

        The classifier is not part of it: a model and its extension have the same features.
        """
        prefix = f"{self.head_name}."
        tensors = {
            name: tensor
            for name, tensor in self.module.state_dict().items()
            if not name.startswith(prefix)
        }
        return json_sha256(
            {
                "format": 1,
                "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
                "network": _encode_network(self.spec),
                "tensors": state_dict_hash(tensors),
                "transform": encode(self.transform),
                "device": self.device.type,
            }
        )

    def compute(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features (N, F) of uint8 pixels (N, H, W, C), N at most `BATCH_SIZE`.

        Raises InputError if the classifier is not the last layer, or a feature is not finite.
        """
        count = len(pixels)
        filled = np.zeros((BATCH_SIZE, *pixels.shape[1:]), np.uint8)
        filled[:count] = pixels
        mean, std = (
            torch.tensor(values, device=self.device)
            for values in (self.transform.mean, self.transform.std)
        )
        inputs: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, values: inputs.append(values[0]))
        try:
            images = normalize(torch.from_numpy(filled).to(self.device), mean, std)
            logits = forward_in_eval_mode(self.module, images)
        finally:
            hook.remove()
        check_outputs(logits, self.name)
        with torch.inference_mode():
            is_last = len(inputs) == 1 and inputs[0].ndim == 2
            if not is_last or not torch.allclose(self.head(inputs[0]), logits, 1e-4, 1e-4):
                message = (
                    "its outputs are not those of its last linear layer, so it has no features"
                )
                raise input_error(
                    self.name, message, "choose a network that ends in its classifier"
                )
        features: NDArray[np.float32] = inputs[0][:count].float().cpu().numpy()
        return features


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
    kind, index = parse_device(device)
    numerics = resolve_numerics(Numerics(device=kind, precision="fp32"), single_run=True)  # type: ignore[arg-type]
    torch_device = setup_device(numerics, index)
    if model and Path(model).is_dir():
        if weights is not None:
            message = "given together with the folder of a model, which has its weights"
            raise input_error("--weights", message, "leave --weights out")
        return open_model_folder(Path(model), torch_device, size, accept_license)
    backbone = select_backbone(model, weights, accept_license)
    check_code(backbone.spec)
    backbone = with_library_license(backbone, accept_license)
    # The classifier of two outputs is never used.
    built = FinetuneModel(
        backbone.spec, backbone.weights, ("first", "second"), 0, numerics, torch_device
    )
    return FeatureNetwork(
        name=backbone.spec.slug,
        module=built.model,
        head_name=classifier(built.model, backbone.spec.slug)[0],
        spec=built.spec,
        transform=built.eval_transform(size or DEFAULT_SIZE),
        device=torch_device,
        license=backbone.license,
        notes=tuple(filter(None, (backbone.origin, *built.assumptions))),
    )


def open_model_folder(
    folder: Path, device: torch.device, size: int | None = None, accept_license: bool = False
) -> FeatureNetwork:
    """Open the model in a folder; `size` replaces its image size. Raises InputError."""
    file = check_model(folder, accept_license)
    bundle = load_bundle(folder)
    transform = file.eval_transform
    if size is not None and size != transform.size:
        transform = replace(transform, size=size, resize=None)
    return FeatureNetwork(
        name=file.name,
        module=bundle.module.to(device),
        head_name=classifier(bundle.module, file.name)[0],
        spec=file.model,
        transform=transform,
        device=device,
        license=file.license,
        notes=_fitted_note(file),
    )


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
    path = cache / "features" / f"{network.identity[:32]}.safetensors"
    numbers, rows = _read_features(path)
    images = photos.images
    missing = {
        row.sha256: image
        for row, image in zip(photos.rows, images, strict=True)
        if row.sha256 not in numbers
    }
    hashes = list(missing)
    for start in range(0, len(hashes), PHOTOS_PER_WRITE):
        part = hashes[start : start + PHOTOS_PER_WRITE]
        computed = _compute_images(
            network, [missing[digest] for digest in part], on_item, start, len(hashes)
        )
        numbers, rows = _add_features(path, part, computed)
    return rows[[numbers[row.sha256] for row in photos.rows]]


def _compute_images(
    network: FeatureNetwork,
    images: Sequence[LazyImage],
    on_item: ItemCallback,
    done: int,
    total: int,
) -> NDArray[np.float32]:
    """Return the features (N, F) of images. Raises InputError for one that cannot be decoded."""
    transform = network.transform
    # Whole photographs differ in shape, so that each is a batch of its own.
    batch_size = 1 if transform.crop_mode == "whole" else BATCH_SIZE
    batches = []
    for batch in load_batches(
        images, lambda image: apply_eval_transform(image, transform), batch_size
    ):
        for loaded in batch:
            if loaded.pixels is None:
                raise input_error(loaded.image.name, loaded.reason, "restore it, or --skip-bad")
        batches.append(network.compute(np.stack([loaded.pixels for loaded in batch])))  # type: ignore[misc]
        done += len(batch)
        on_item("features computed", done, total)
    return np.concatenate(batches)


def _add_features(
    path: Path, hashes: Sequence[str], rows: NDArray[np.float32]
) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Add features to a file of the cache, and return its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with try_lock(path.with_suffix(".lock")) as acquired:
            if acquired:
                numbers, stored = _read_features(path)
                new = [k for k, digest in enumerate(hashes) if digest not in numbers]
                all_hashes = [*numbers, *(hashes[k] for k in new)]
                all_rows = np.concatenate([stored, rows[new]]) if numbers else rows[new]
                tensors = {"features": torch.from_numpy(all_rows)}
                facts = {"sha256": all_hashes, "tensors": state_dict_hash(tensors)}
                write_tensors(path, tensors, {"resnetlab": json.dumps(facts)})
                return {digest: k for k, digest in enumerate(all_hashes)}, all_rows
        time.sleep(LOCK_SECONDS)


def _read_features(path: Path) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Return the row of each photograph by its SHA-256, and the rows (N, F).

    A file that is absent or damaged counts as empty.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {"features": file.get_tensor("features")}
            facts = json.loads(file.metadata()["resnetlab"])
        numbers = {digest: k for k, digest in enumerate(facts["sha256"])}
        intact = facts["tensors"] == state_dict_hash(tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return {}, np.empty((0, 0), np.float32)
    rows: NDArray[np.float32] = tensors["features"].numpy()
    return (numbers, rows) if intact and len(numbers) == len(rows) else ({}, rows[:0])


def _encode_network(spec: ModelConfig) -> object:
    """Return the architecture without weights and without the number of outputs."""
    network = with_module_hashes(without_weights_source(spec, 2))
    if isinstance(network, ExternalConfig):
        kwargs = {name: value for name, value in network.kwargs.items() if name != "num_classes"}
        code = {name: value for name, value in network.code.items() if name != PARAMETERS}
        network = replace(network, kwargs=kwargs, code=code)
    return encode(network)


def _fitted_note(file: ModelFile) -> tuple[str, ...]:
    """Return a note if the features of a model were fitted to labels."""
    recipe = file.provenance.get("recipe")
    stages = recipe.get("stages", ()) if isinstance(recipe, dict) else ()
    trained = [stage for stage in stages if stage.get("trainable", "classifier") != "classifier"]
    return (FITTED_NOTE,) if trained else ()
