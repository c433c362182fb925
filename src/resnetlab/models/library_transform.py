"""Evaluation transforms that timm and torchvision publish with their weights."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.external import ExternalConfig
from resnetlab.models.external import import_timm
from resnetlab.models.weight_licenses import find_timm_config


@dataclass(frozen=True)
class LibraryTransform:
    """Evaluation transform of a library's own weights, with a line that says what is assumed."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    resize: int
    interpolation: Literal["bilinear", "bicubic"]
    note: str = ""


def library_transform(config: ModelConfig, file_name: str, digest: str) -> LibraryTransform | None:
    """Return the evaluation transform of weights that a library published, or None.

    torchvision's files are recognized by the first eight digits of their SHA-256, which their names
    end in, or by the name alone.

    Args:
        config: Network of the weights.
        file_name: Name of the file of weights.
        digest: SHA-256 of the file.
    """
    if isinstance(config, ExternalConfig) and config.library == "timm":
        return _timm_transform(config)
    name = config.name if isinstance(config, ExternalConfig) else config.slug
    if isinstance(config, ExternalConfig) and config.library != "torchvision":
        return None
    try:
        versions = list(importlib.import_module("torchvision.models").get_model_weights(name))
    except (ValueError, ImportError):  # not a network of torchvision
        return None
    published = {str(version.url).rpartition("/")[2]: version for version in versions}
    for url_name, version in published.items():
        if Path(url_name).stem.rpartition("-")[2] == digest[:8]:
            return _torchvision_transform(version, "")
    if file_name in published:
        version = published[file_name]
        note = "by the file's name, its preprocessing is assumed to be that of torchvision's"
        return _torchvision_transform(version, f"{note} {version}")
    if not isinstance(config, ExternalConfig):
        return None
    version = type(versions[0]).DEFAULT
    note = f"the preprocessing of torchvision's {version} is assumed (--mean, --std, --resize)"
    return _torchvision_transform(version, note)


def _torchvision_transform(version: Any, note: str) -> LibraryTransform:
    transform = version.transforms()
    size, resize = int(transform.crop_size[0]), int(transform.resize_size[0])
    kind: Literal["bilinear", "bicubic"] = (
        "bicubic" if transform.interpolation.value == "bicubic" else "bilinear"
    )
    return LibraryTransform(
        tuple(transform.mean), tuple(transform.std), size, max(size, resize), kind, note
    )


def _timm_transform(config: ExternalConfig) -> LibraryTransform | None:
    pretrained_cfg = find_timm_config(import_timm(config), config.name)
    if pretrained_cfg is None:
        return None
    size = int(pretrained_cfg.input_size[1])
    kind: Literal["bilinear", "bicubic"] = (
        "bilinear" if pretrained_cfg.interpolation == "bilinear" else "bicubic"
    )
    note = f"timm's preprocessing of {config.name} is assumed (--mean, --std, --resize)"
    resize = max(size, math.floor(size / pretrained_cfg.crop_pct))
    return LibraryTransform(
        tuple(pretrained_cfg.mean), tuple(pretrained_cfg.std), size, resize, kind, note
    )
