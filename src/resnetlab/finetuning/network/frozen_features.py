"""Frozen features of photographs: the inputs of a network's classifier, computed once each.

Probes, the confidence of a model, `extend` and the commands on labels share one file for each
network, evaluation transform and precision, under `cache/features`. A photograph is identified by
the SHA-256 of its file, so one that is added later costs one forward pass, and the others cost
none. A damaged file counts as absent, and any file may be removed.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from resnetlab.data.photo_loader import LazyImage, load_batches
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.errors import input_error
from resnetlab.files import json_sha256, try_lock
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.messages import ItemCallback, silent
from resnetlab.model_folder.read import without_weights_source
from resnetlab.models.code_hash import PARAMETERS, with_module_hashes
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.weights import state_dict_hash, write_tensors
from resnetlab.recipes.numerics import Numerics
from resnetlab.schema import encode

FOLDER = "features"
"""Name of the folder of the features in the cache."""

BATCH_SIZE = 32
"""Photographs of a forward pass. `fill_batch` fills the last batch, so that the features of a
photograph do not depend on the number of photographs that are computed with it."""

PHOTOS_PER_WRITE = 2_048
"""Photographs after whose computation the cache is written, so that an interruption loses few."""

PACKAGES = ("torch", "torchvision", "numpy", "Pillow")
"""Packages whose arithmetic influences the features."""

LOCK_SECONDS = 0.1
"""Time between two tries to get the lock of a cache file."""

ComputeFeatures = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Function from uint8 pixels (N, H, W, C), N at most `BATCH_SIZE`, to features (N, F)."""


def features_identity(
    module: nn.Module,
    head_name: str,
    config: ModelConfig,
    transform: EvalTransform,
    numerics: Numerics,
) -> str:
    """Return a SHA-256 of everything that determines the features of a photograph.

    The classifier `head_name` is not part of it: a model and its extension have the same features.
    """
    tensors = {
        name: tensor
        for name, tensor in module.state_dict().items()
        if not name.startswith(f"{head_name}.")
    }
    return json_sha256(
        {
            "format": 2,
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
            "network": _encode_network(config),
            "tensors": state_dict_hash(tensors),
            "transform": encode(transform),
            "numerics": [numerics.device, numerics.precision, numerics.memory_format],
            "threads": torch.get_num_threads() if numerics.device == "cpu" else 1,
        }
    )


def features_path(folder: Path, identity: str) -> Path:
    """Return the file of the features with this identity in the folder of the features."""
    return folder / f"{identity[:32]}.safetensors"


def fill_batch(pixels: NDArray[np.uint8], transform: EvalTransform) -> NDArray[np.uint8]:
    """Return pixels (N, H, W, C) with black images after them, `BATCH_SIZE` in all.

    Whole photographs differ in shape, and each stays a batch of its own.
    """
    if transform.crop_mode == "whole":
        return pixels
    filled = np.zeros((BATCH_SIZE, *pixels.shape[1:]), np.uint8)
    filled[: len(pixels)] = pixels
    return filled


def load_features(
    photo_split: PhotoSplit,
    transform: EvalTransform,
    compute: ComputeFeatures,
    path: Path | None = None,
    on_item: ItemCallback = silent,
) -> NDArray[np.float32]:
    """Return the features (N, F) of photographs, from the cache or computed and stored there.

    Args:
        photo_split: Photographs of a folder.
        transform: Evaluation transform.
        compute: Function that computes the features of a batch.
        path: File of the cache, see `features_path`; None for no cache.
        on_item: Callback for the progress.

    Raises:
        InputError: A photograph that is not in the cache is damaged or has changed.
        ResourceError: The disk is full.
    """
    numbers, rows = _read_features(path)
    missing = {
        row.sha256: image
        for row, image in zip(photo_split.rows, photo_split.images, strict=True)
        if row.sha256 not in numbers
    }
    hashes = list(missing)
    for start in range(0, len(hashes), PHOTOS_PER_WRITE):
        part = hashes[start : start + PHOTOS_PER_WRITE]
        images = [missing[digest] for digest in part]
        computed = _compute_images(images, transform, compute, on_item, start, len(hashes))
        numbers, rows = (
            _join((numbers, rows), part, computed)
            if path is None
            else _add_features(path, part, computed)
        )
    return rows[[numbers[row.sha256] for row in photo_split.rows]]


def count_missing(photo_split: PhotoSplit, path: Path) -> int:
    """Return the number of photographs whose features are not in the file `path`."""
    numbers, _ = _read_features(path)
    return len({row.sha256 for row in photo_split.rows} - set(numbers))


def _compute_images(
    images: Sequence[LazyImage],
    transform: EvalTransform,
    compute: ComputeFeatures,
    on_item: ItemCallback,
    done: int,
    total: int,
) -> NDArray[np.float32]:
    """Return the features (N, F) of images. Raises InputError for one that cannot be decoded."""
    # Whole photographs differ in shape, so that each is a batch of its own.
    batch_size = 1 if transform.crop_mode == "whole" else BATCH_SIZE
    batches = []
    for batch in load_batches(
        images, lambda image: apply_eval_transform(image, transform), batch_size
    ):
        for loaded in batch:
            if loaded.pixels is None:
                raise input_error(loaded.image.name, loaded.reason, "restore it, or --skip-bad")
        batches.append(compute(np.stack([loaded.pixels for loaded in batch])))  # type: ignore[misc]
        done += len(batch)
        on_item("features computed", done, total)
    return np.concatenate(batches)


Stored = tuple[dict[str, int], NDArray[np.float32]]
"""Row of each photograph by its SHA-256, and the rows (N, F)."""


def _join(stored: Stored, hashes: Sequence[str], rows: NDArray[np.float32]) -> Stored:
    """Return stored features with more rows, without those that are stored already."""
    numbers, old_rows = stored
    new = [k for k, digest in enumerate(hashes) if digest not in numbers]
    all_hashes = [*numbers, *(hashes[k] for k in new)]
    all_rows = np.concatenate([old_rows, rows[new]]) if numbers else rows[new]
    return {digest: k for k, digest in enumerate(all_hashes)}, all_rows


def _add_features(path: Path, hashes: Sequence[str], rows: NDArray[np.float32]) -> Stored:
    """Add features to a file of the cache, and return its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with try_lock(path.with_suffix(".lock")) as acquired:
            if acquired:
                numbers, all_rows = _join(_read_features(path), hashes, rows)
                tensors = {"features": torch.from_numpy(all_rows)}
                metadata = {"sha256": list(numbers), "tensors": state_dict_hash(tensors)}
                write_tensors(path, tensors, {"resnetlab": json.dumps(metadata)})
                return numbers, all_rows
        time.sleep(LOCK_SECONDS)


def _read_features(path: Path | None) -> Stored:
    """Return the content of a file; one that is absent or damaged counts as empty."""
    empty = np.empty((0, 0), np.float32)
    if path is None:
        return {}, empty
    try:
        with safe_open(path, "pt") as file:
            # A copy: Windows does not replace a file while a tensor still refers to it.
            tensors = {"features": file.get_tensor("features").clone()}
            metadata = json.loads(file.metadata()["resnetlab"])
        numbers = {digest: k for k, digest in enumerate(metadata["sha256"])}
        intact = metadata["tensors"] == state_dict_hash(tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return {}, empty
    rows: NDArray[np.float32] = tensors["features"].numpy()
    return (numbers, rows) if intact and len(numbers) == len(rows) else ({}, empty)


def _encode_network(config: ModelConfig) -> object:
    """Return the architecture without weights and without the number of outputs."""
    network = with_module_hashes(without_weights_source(config, 2))
    if isinstance(network, ExternalConfig):
        kwargs = {name: value for name, value in network.kwargs.items() if name != "num_classes"}
        code = {name: value for name, value in network.code.items() if name != PARAMETERS}
        network = replace(network, kwargs=kwargs, code=code)
    return encode(network)
