"""Requests, networks and stages for tests of fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from helpers.texture_photographs import KINDS
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.models.configs import ExternalConfig
from resnetlab.recipes.finetune import Stage
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Adam, Recipe

NUMERICS = Numerics(device="cpu", precision="fp32", memory_format="channels_last", threads=1)
CPU = torch.device("cpu")


def request(photos: Path, backbone: Path, **more: Any) -> FinetuneRequest:
    """Return a request to fine-tune `backbone` on `photos` at 24 pixels."""
    return FinetuneRequest(
        folder=photos, model=str(backbone), train_size=24, output=photos.parent / "out", **more
    )


def make_model(config: ExternalConfig, seed: int = 0) -> FinetuneModel:
    """Build the network for the three kinds of stripes, on the CPU."""
    return FinetuneModel(config, None, KINDS, seed, NUMERICS, CPU)


def stage(**fields: Any) -> Stage:
    """Return a stage of two epochs with other `fields`."""
    recipe = Recipe(batch_size=8, epochs=2, optimizer=Adam(lr=1e-2))
    settings: dict[str, Any] = {"name": "stage", "recipe": recipe} | fields
    return Stage(**settings)
