"""Model folders with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.model_folder.confidence import (
    Confidence,
    SplitOutputs,
    fit_confidence,
    write_confidence,
)
from resnetlab.model_folder.model_file import License, ModelFile
from resnetlab.model_folder.read import read_model_file
from resnetlab.model_folder.store import save_model_folder
from resnetlab.models.build import build_model
from resnetlab.models.configs import CifarConfig

NET = CifarConfig(blocks=(1, 1), widths=(4, 8))
CLASSES = ("cat", "dog", "newt", "owl", "pig", "rat")


def write_model(
    folder: Path, seed: int = 0, classes: tuple[str, ...] = CLASSES, **fields: object
) -> Path:
    """Return a model with random weights, large enough that its predictions differ."""
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
    save_model_folder(folder, module, ModelFile(**(table | fields)))  # type: ignore[arg-type]
    return folder


def planted_confidence(weights_sha256: str, images: int = 120, seed: int = 0) -> Confidence:
    """Confidence for the network of `write_model`, from random outputs better than chance."""
    logits, features, labels = planted_outputs(np.random.default_rng(seed), images)
    reference, reference_labels = planted_outputs(np.random.default_rng(seed), 48)[1:]
    validation = SplitOutputs(softmax(logits, 1), logits, features, labels)
    return fit_confidence(validation, reference, reference_labels, weights_sha256)


def planted_outputs(
    draw: np.random.Generator, images: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Logits (N, 6), features (N, 8) around a center of each class, and labels (N,)."""
    centers, labels = draw.normal(size=(6, NET.widths[-1])), np.arange(images) % 6
    logits = draw.normal(size=(images, 6))
    logits[np.arange(images), labels] += 1.5
    return logits, centers[labels] + draw.normal(size=(images, NET.widths[-1])), labels


def add_confidence(folder: Path) -> Path:
    """Add the file of a fine-tuning to the folder of `write_model`."""
    write_confidence(folder, planted_confidence(read_model_file(folder).weights_sha256))
    return folder
