"""Fine-tuning model: pre-trained weights, a new classifier, input normalization and cached
features.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnetlab.data.device_images import DeviceImages
from resnetlab.data.transforms.augment import normalize
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.errors import InputError, input_error
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.finetuning.network.frozen_features import (
    BATCH_SIZE,
    count_missing,
    features_identity,
    features_path,
    fill_batch,
    load_features,
)
from resnetlab.messages import ItemCallback, silent
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.external import weights_assumptions, weights_metadata
from resnetlab.models.library_transform import LibraryTransform, library_transform
from resnetlab.models.timm_source import TimmSource, read_timm_source
from resnetlab.models.transfer import (
    FrozenPart,
    build_with_new_head,
    check_accepts_image_size,
    find_head,
    freeze,
    is_folded,
    last_batch_norm,
    list_parts,
    load_backbone,
    partition_at,
)
from resnetlab.models.weight_sources import IMAGENET_MEAN, IMAGENET_STD
from resnetlab.models.weights import WeightsMetadata, read_weights
from resnetlab.recipes.finetune import FrozenMode, RecipeCropMode, Trainable
from resnetlab.recipes.numerics import Numerics
from resnetlab.training.device import autocast, memory_format
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.rng import make_generator
from resnetlab.training.state import clone_tensors

ASSUMED_NORMALIZATION = (
    "the weights do not state the mean and std of their images: those of ImageNet are assumed"
)

FEATURE_BATCH_SIZE = BATCH_SIZE
"""Batch size of the frozen part of a network."""

FEATURE_CACHE_BYTES = 3_000_000_000
"""Maximum size of the cache of constant features. Others are computed again."""


@dataclass
class FeatureCache:
    """Cache of the outputs of a frozen part, by boundary and input, up to a size limit."""

    entries: dict[tuple[object, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)
    total_bytes: int = 0

    def has_room(self, images: int, size: int) -> bool:
        """Return True if fp32 features of `size` numbers each fit into the cache."""
        return self.total_bytes + 4 * images * size <= FEATURE_CACHE_BYTES

    def add(self, key: tuple[object, ...], features: Tensor, labels: Tensor) -> None:
        """Add fp32 features (B, F) and labels (B,) if the cache has room."""
        if self.has_room(len(features), features[0].numel()):
            self.entries[key] = features, labels
            self.total_bytes += 4 * features.numel()

    def remove_stale(self, boundary: str, weights_changed: bool) -> None:
        """Remove the features of every boundary other than `boundary` if weights changed
        since they were computed.
        """
        if not weights_changed:
            return
        for key in [key for key in self.entries if key[0] != boundary]:
            features, _ = self.entries.pop(key)
            self.total_bytes -= features.numel() * features.element_size()


@dataclass
class PartitionedModel:
    """Network in two parts, of which the first is frozen and the second is trained.

    Without a frozen part the trainable part is the entire network.
    """

    boundary: str
    """Name of the first trainable module; empty without a frozen part."""
    frozen_part: FrozenPart | None
    trainable_part: nn.Module
    at_head: bool = False
    """True if the trainable part gets the inputs of the classifier and nothing else."""


class FinetuneModel:
    """Pre-trained network with a new classifier for `classes`, on a device."""

    def __init__(
        self,
        config: ModelConfig,
        weights_path: Path | None,
        classes: tuple[str, ...],
        seed: int,
        numerics: Numerics,
        device: torch.device,
        world: World = SINGLE_PROCESS,
        on_item: ItemCallback = silent,
        features_folder: Path | None = None,
    ) -> None:
        self.on_item = on_item
        # Folder of the features before the classifier; None for features in memory only.
        self.features_folder = features_folder
        self.config, self.classes, self.seed = config, classes, seed
        self.numerics, self.device, self.world = numerics, device, world
        if weights_path is not None and isinstance(config, ExternalConfig):
            self.config = config = replace(config, weights=str(weights_path), sha256="")
        metadata = (
            weights_metadata(config) if isinstance(config, ExternalConfig) else WeightsMetadata()
        )
        model = build_with_new_head(
            config, len(classes), lambda name: make_generator(seed, "init", name)
        )
        if weights_path is not None and not isinstance(config, ExternalConfig):
            tensors, metadata = read_weights(weights_path)
            load_backbone(model, tensors, str(weights_path))
        # Sentences for metadata about the weights that neither they nor the config state.
        self.assumptions = _assumptions(config, model, metadata)
        self.mean, self.std = (
            (metadata.mean, metadata.std) if metadata.mean else (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.model: nn.Module = model.to(device).to(memory_format=memory_format(numerics)).eval()
        self.feature_cache = FeatureCache()
        self._mean, self._std = (
            torch.tensor(values, device=device) for values in (self.mean, self.std)
        )

    def eval_transform(self, size: int, crop_mode: RecipeCropMode = "crop") -> EvalTransform:
        """Return the evaluation transform for an image size.

        Raises InputError if the network does not accept it.
        """
        check_accepts_image_size(self.model, size, self.config.slug)
        return EvalTransform(crop_mode=crop_mode, size=size, mean=self.mean, std=self.std)

    def partition_for_training(
        self, trainable: Trainable, size: int, frozen_mode: FrozenMode = "eval"
    ) -> PartitionedModel:
        """Partition the network to train the part `trainable`, and set train modes and
        `requires_grad`.

        The two parts share their modules with the network. Batch norm with folded statistics keeps
        its mean and variance and trains only its weight and bias. With `frozen_mode` "train" the
        network is not partitioned, and the frozen part is in training mode too. Raises InputError
        if no layer would be trainable.
        """
        name = self.config.slug
        head_name, head = find_head(self.model, name)
        boundary = head_name
        match trainable:
            case "classifier":
                freeze(self.model, "backbone", name)
            case "last norm":
                freeze(self.model, "backbone", name)
                boundary = last_batch_norm(self.model, size) or head_name
                self.model.get_submodule(boundary).train().requires_grad_(True)
            case "all":
                freeze(self.model, "none", name)
                boundary = ""
            case int():
                freeze(self.model, trainable, name)
                boundary = list_parts(self.model)[trainable][0] if trainable else ""
            case _:
                assert_never(trainable)
        if frozen_mode == "train":
            self.model.train()
            boundary = ""
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d) and is_folded(module):
                module.eval()
        parts = partition_at(self.model, boundary, size) if boundary else None
        if parts is None:
            return PartitionedModel("", None, self.model)
        frozen_part, trainable_part = parts
        at_head = boundary == head_name and trainable_part.shapes == ((head.in_features,),)
        return PartitionedModel(boundary, frozen_part, trainable_part, at_head)

    def clone_state(self) -> dict[str, Tensor]:
        """Return a copy of the network's tensors by name."""
        return clone_tensors(self.model.state_dict())

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Convert uint8 pixels (B, H, W, C) on any device to normalized images (B, C, H, W) on the
        model's device.
        """
        images = normalize(pixels.to(self.device, non_blocking=True), self._mean, self._std)
        return images.contiguous(memory_format=memory_format(self.numerics))

    def features(self, partitioned: PartitionedModel, pixels: Tensor) -> Tensor:
        """Compute the frozen features (B, F) of uint8 pixels (B, H, W, C), or without a frozen part
        images (B, C, H, W).
        """
        return self.frozen_features(partitioned, self.preprocess(pixels))

    def frozen_features(self, partitioned: PartitionedModel, images: Tensor) -> Tensor:
        """Compute the frozen part's features (B, F) of normalized images (B, C, H, W).

        Without a frozen part, return the images.
        """
        if partitioned.frozen_part is None:
            return images
        with torch.no_grad(), autocast(self.numerics):
            rows: Tensor = partitioned.frozen_part(images)
        return rows.float()

    def head_inputs(
        self,
        partitioned: PartitionedModel,
        photo_split: PhotoSplit,
        transform: EvalTransform,
        on_item: ItemCallback = silent,
        *,
        fp32: bool = False,
    ) -> Tensor:
        """Return the inputs (N, F) of the classifier for a split, on the CPU.

        They come from the files of `features_folder`, or are computed and stored there.

        Args:
            partitioned: Network that is partitioned at its classifier.
            photo_split: Photographs.
            transform: Evaluation transform.
            on_item: Callback for the progress.
            fp32: True to compute in fp32, whatever the precision of the training is.
        """
        numerics, frozen_part = self._feature_numerics(fp32=fp32), partitioned.frozen_part
        path = self._features_file(partitioned, transform, numerics)
        assert frozen_part is not None

        def compute(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            images = self.preprocess(torch.from_numpy(fill_batch(pixels, transform)))
            with torch.no_grad(), autocast(numerics):
                rows = frozen_part(images)[: len(pixels)]
            features: NDArray[np.float32] = rows.float().cpu().numpy()
            return features

        return torch.from_numpy(load_features(photo_split, transform, compute, path, on_item))

    def count_missing(
        self,
        partitioned: PartitionedModel,
        photo_split: PhotoSplit,
        transform: EvalTransform,
        *,
        fp32: bool = False,
    ) -> int:
        """Return the number of photographs whose frozen features are not stored."""
        path = self._features_file(partitioned, transform, self._feature_numerics(fp32=fp32))
        if not partitioned.at_head or path is None:
            return len(photo_split)
        return count_missing(photo_split, path)

    def _feature_numerics(self, *, fp32: bool) -> Numerics:
        return replace(self.numerics, precision="fp32") if fp32 else self.numerics

    def _features_file(
        self, partitioned: PartitionedModel, transform: EvalTransform, numerics: Numerics
    ) -> Path | None:
        """Return the file of the inputs of the classifier; None without a folder."""
        if self.features_folder is None:
            return None
        head = partitioned.boundary
        identity = features_identity(self.model, head, self.config, transform, numerics)
        return features_path(self.features_folder, identity)

    def features_or_pixels(
        self, partitioned: PartitionedModel, photo_split: PhotoSplit, transform: EvalTransform
    ) -> DeviceImages:
        """Return the inputs of the trainable part for a split: frozen features if they fit in the
        cache, else uint8 pixels.
        """
        labels = torch.from_numpy(photo_split.labels).to(self.device)
        key = (partitioned.boundary, transform, tuple(row.sha256 for row in photo_split.rows))
        if partitioned.frozen_part is not None and key in self.feature_cache.entries:
            return DeviceImages(*self.feature_cache.entries[key])
        if partitioned.at_head:
            size = find_head(self.model, self.config.slug)[1].in_features
            if self.feature_cache.has_room(len(photo_split), size):
                rows = self.head_inputs(partitioned, photo_split, transform, self.on_item)
                rows = rows.to(self.device)
                self.feature_cache.add(key, rows, labels)
                return DeviceImages(rows, labels)
        if transform.crop_mode == "whole":
            message = (
                "whole images differ in shape, and this network cannot be divided before its "
                "classifier"
            )
            raise input_error(self.config.slug, message, 'crop_mode = "crop"', field="crop_mode")
        pixels = torch.from_numpy(
            photo_split.stack(lambda image: apply_eval_transform(image, transform), self.on_item)
        )
        if partitioned.frozen_part is None:
            return DeviceImages(pixels, labels)
        first = self.features(partitioned, pixels[:2])
        if not self.feature_cache.has_room(len(photo_split), first.shape[1]):
            return DeviceImages(pixels, labels)
        batches, total = [], len(photo_split)
        for piece in torch.split(pixels, FEATURE_BATCH_SIZE):
            batches.append(self.features(partitioned, piece))
            num_done = min(len(batches) * FEATURE_BATCH_SIZE, total)
            self.on_item("features computed", num_done, total)
        rows = torch.cat(batches)
        self.feature_cache.add(key, rows, labels)
        return DeviceImages(rows, labels)

    def make_forward(
        self, partitioned: PartitionedModel, trainable_forward: Callable[[Tensor], Tensor]
    ) -> Callable[[Tensor], Tensor]:
        """Return a function from features or uint8 pixels to logits.

        `trainable_forward` maps the inputs of the trainable part to logits.
        """

        def forward(inputs: Tensor) -> Tensor:
            is_pixels = inputs.dtype == torch.uint8
            return trainable_forward(self.features(partitioned, inputs) if is_pixels else inputs)

        return forward


def _assumptions(
    config: ModelConfig, model: nn.Module, metadata: WeightsMetadata
) -> tuple[str, ...]:
    """Return a sentence for each assumption about pre-trained weights."""
    if not metadata.mean:
        return (ASSUMED_NORMALIZATION,)
    if isinstance(config, ExternalConfig):
        note = describe_other_resizing(config)
        lines = weights_assumptions(config, find_head(model, config.slug)[0])
        return (*lines, note) if note else lines
    return ()


def describe_other_resizing(config: ExternalConfig) -> str:
    """Return a sentence if timm resizes or crops images for these weights in another way than
    fine-tuning does; "" if it does not, or if it is unknown.
    """
    published: LibraryTransform | TimmSource | None = None
    if config.library == "timm" and config.weights == "hub":
        published = library_transform(config, "", "")
    elif config.library == "timm" and config.weights:
        folder = Path(config.weights).parent
        with contextlib.suppress(InputError):  # no config.json, or not one of timm
            published = read_timm_source(f"local-dir:{folder}", str(folder))
    if published is None:
        return ""
    ours = EvalTransform(size=published.size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    if (published.interpolation, published.resize) == (ours.interpolation, ours.shorter_side):
        return ""
    theirs, used = (
        f"{kind} interpolation and a crop of {100 * published.size / side:.1f} % of the shorter "
        "side"
        for kind, side in (
            (published.interpolation, published.resize),
            (ours.interpolation, ours.shorter_side),
        )
    )
    return (
        f"timm states {theirs} for these weights: fine-tuning and the model folder use {used} "
        "instead"
    )
