"""Weight files in the safetensors format, with class names and preprocessing in the metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from resnetlab.errors import InputError, Problem, input_error
from resnetlab.files import atomic_write
from resnetlab.models.tensorfile import (
    NORMALIZER_PREFIX,
    backbone_file,
    open_safetensors,
    read_metadata,
)

MAX_LISTED_NAMES = 5
"""Maximum number of tensor names in an error message."""


@dataclass(frozen=True)
class WeightsMetadata:
    """Metadata of weights: class names and preprocessing of pixels from 0 to 1.

    Unknown fields are empty. `side` is that of the images the weights were trained with, 0 for
    unknown.
    """

    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    side: int = 0
    normalize: str = ""
    """Kind of normalization, if it is not by `mean` and `std`: `per-image` or `zca`."""
    whitening: dict[str, Tensor] = field(default_factory=dict)
    """Tensors of ZCA whitening: `mean` (D,) and `matrix` (D, D)."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], WeightsMetadata]:
    """Return the tensors of a safetensors file, on the CPU, and its metadata.

    A run of fine-tuning has the tensors that training changed; those of its backbone are added.
    Raises InputError when it is not a safetensors file, or its backbone is missing or damaged.
    """
    tensors, metadata = _read_file(path), read_metadata(path)
    if digest := metadata.get("backbone"):
        tensors = _read_backbone(path, str(digest)) | tensors
    whitening = {
        name.removeprefix(NORMALIZER_PREFIX): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(NORMALIZER_PREFIX)
    }
    try:
        described = WeightsMetadata(
            tuple(map(str, metadata.get("classes", ()))),
            tuple(map(float, metadata.get("mean", ()))),
            tuple(map(float, metadata.get("std", ()))),
            int(metadata.get("side", 0)),
            str(metadata.get("normalize", "")),
            whitening,
        )
    except (TypeError, ValueError):  # another program uses the same keys for something else
        described = WeightsMetadata()
    return tensors, described


def _read_file(path: Path) -> dict[str, Tensor]:
    with open_safetensors(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read_backbone(weights: Path, digest: str) -> dict[str, Tensor]:
    """Read the frozen part of a run's network. Raises InputError if it is missing or damaged."""
    path = backbone_file(weights, digest)
    fix = "restore it from a copy; the weights of the run lack its frozen part"
    if not path.is_file():
        raise input_error(str(path), "no such file", fix)
    tensors = _read_file(path)
    if state_dict_hash(tensors) != digest:
        raise input_error(str(path), "differs from its SHA-256", fix)
    return tensors


def state_dict_hash(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of tensors: names, dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and metadata as safetensors, atomically."""
    write_tensors(path, tensors, {"resnetlab": json.dumps(metadata, allow_nan=False)})


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as a safetensors file atomically."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_write(path, "wb") as file:
        file.write(safetensors.torch.save(plain, metadata))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file into memory. Windows cannot remove a memory-mapped
    file.

    Raises InputError if it is not a safetensors file.
    """
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise input_error(
            str(path), f"not a complete safetensors file: {error}", "restore it from a copy"
        ) from None
    return tensors


def load_weights(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Load `tensors` into `model`. Their names must match exactly.

    `num_batches_tracked`, which older files lack, is set to 0. Raises InputError that lists
    missing, unknown and misshapen tensors and those that are not finite: five names and the total.
    """
    expected = model.state_dict()
    defaults = {
        n: torch.zeros_like(t) for n, t in expected.items() if n.endswith("num_batches_tracked")
    }
    state = {**defaults, **tensors}
    misshapen = [
        f"{name} {_format_shape(state[name])} for {_format_shape(expected[name])}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    groups = {
        "is missing": [name for name in expected if name not in state],
        "is unknown to the network:": [name for name in state if name not in expected],
        "has another shape:": misshapen,
    }
    fix = (
        "give the file of this network, or the network of this file; resnetlab import-weights "
        "converts the names of other repositories"
    )
    problems = [
        Problem(where, f"{problem} {_format_names(names)}", fix)
        for problem, names in groups.items()
        if names
    ]
    if problems:
        raise InputError(*problems)
    check_finite(tensors, where, expected)
    model.load_state_dict(state)


def check_finite(
    tensors: Mapping[str, Tensor], where: str, expected: Mapping[str, Tensor] | None = None
) -> None:
    """Raise InputError that names the tensors with a value that is not finite.

    A value that equals the one in `expected`, the state of the new network, is accepted: some
    networks store an attention mask of minus infinity as a buffer.
    """
    bad = []
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        finite = torch.isfinite(tensor)
        if not finite.all() and expected and name in expected:
            finite |= tensor == expected[name].to(tensor)
        if not finite.all():
            bad.append(name)
    if bad:
        raise input_error(
            where,
            f"has NaN or infinity in {_format_names(bad)}",
            "restore it from a copy, or take a checkpoint from before the training diverged",
        )


def _format_shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _format_names(names: Collection[str]) -> str:
    text = ", ".join(list(names)[:MAX_LISTED_NAMES])
    return f"{text} ({len(names):,} tensors)" if len(names) > 1 else text
