"""Weights in files: safetensors with classes and preprocessing beside them, and names that must match."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from resnetlab.errors import InputError, Problem
from resnetlab.files import atomic
from resnetlab.models.tensorfile import describe_weights, opened

SCALE = "scale/"
"""Before the names of tensors that are no weights but put pixels on a scale: the mean and matrix of a whitening."""

SHOWN = 5
"""Names of tensors in an error; then their count."""


@dataclass(frozen=True)
class Facts:
    """What must be known to use weights: names of the outputs, and what was done to pixels from 0 to 1.

    Empty where nothing is known. `side` is that of the images they were trained with, 0 for unknown.
    """

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    side: int = 0
    normalise: str = ""
    """Where it is not by mean and deviation a channel: `per-image` or `zca`."""
    whitening: dict[str, Tensor] = field(default_factory=dict)
    """Of `zca`: `mean` (D,) and `matrix` (D, D)."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], Facts]:
    """The weights of a safetensors file, on the processor, and its facts. Raises InputError when it is not one."""
    with opened(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
    held = describe_weights(path)
    whitening = {name.removeprefix(SCALE): tensors.pop(name) for name in list(tensors) if name.startswith(SCALE)}
    try:
        facts = Facts(
            tuple(map(str, held.get("classes", ()))), tuple(map(float, held.get("mean", ()))),
            tuple(map(float, held.get("deviation", ()))), int(held.get("side", 0)),
            str(held.get("normalise", "")), whitening,
        )  # fmt: skip
    except (TypeError, ValueError):  # another program's word for something else
        facts = Facts()
    return tensors, facts


def write_weights(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and facts as safetensors, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic(path, "wb") as file:
        file.write(safetensors.torch.save(plain, {"resnetlab": json.dumps(facts)}))


def load_weights(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Put `tensors` into `model`, all of them and no others.

    Counts of batches, which older files lack, are 0. Raises InputError with what is missing, not known, or of another
    shape: five names and how many there are.
    """
    expected = model.state_dict()
    older = {n: torch.zeros_like(t) for n, t in expected.items() if n.endswith("num_batches_tracked")}
    given = {**older, **tensors}
    shapes = [
        f"{name} {_shape(given[name])} for {_shape(expected[name])}"
        for name in expected
        if name in given and given[name].shape != expected[name].shape
    ]
    groups = {
        "is missing": [name for name in expected if name not in given],
        "has no place in the network:": [name for name in given if name not in expected],
        "has another shape:": shapes,
    }
    fix = "give the file of this network, or the network of this file"
    problems = [Problem(where, f"{what} {_five(names)}", fix) for what, names in groups.items() if names]
    if problems:
        raise InputError(*problems)
    model.load_state_dict(given)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _five(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    return f"{shown} ({len(names):,} tensors)" if len(names) > 1 else shown
