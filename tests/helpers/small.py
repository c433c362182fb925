"""A small model's folder, made by the tests."""

from __future__ import annotations

from pathlib import Path

import torch

from resnetlab.bundle.spec import License, ModelFile
from resnetlab.bundle.store import save_bundle
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.models.build import build_model
from resnetlab.models.configs import CifarConfig

NET = CifarConfig(blocks=(1, 1), widths=(4, 8))
CLASSES = ("cat", "dog", "newt", "owl", "pig", "rat")


def write_model(
    folder: Path, seed: int = 0, classes: tuple[str, ...] = CLASSES, **fields: object
) -> Path:
    """A model with random weights, large enough that its predictions differ."""
    channels = getattr(fields.get("eval_transform"), "channels", 3)
    module = build_model(
        NET, channels, len(classes), lambda name: torch.Generator().manual_seed(seed + len(name))
    )
    with torch.no_grad():
        module.get_parameter("head.weight").mul_(4)
    transform = EvalTransform(size=24, resize=28, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    table = {
        "name": folder.name,
        "model": NET,
        "classes": classes,
        "eval_transform": transform,
        "license": License(name="MIT"),
    }
    save_bundle(folder, module, ModelFile(**(table | fields)))  # type: ignore[arg-type]
    return folder
