"""Model configs, one dataclass for each family, and their union. Free of torch."""

from __future__ import annotations

from typing import Annotated

from resnetlab.models.configs.bag_of_words import BagOfWordsConfig
from resnetlab.models.configs.cifar import MAX_DEPTH, CifarConfig, Shortcut, cifar_config
from resnetlab.models.configs.classic import AlexNetCifarConfig, LeNet5Config, VGGConfig
from resnetlab.models.configs.dense import DenseNetConfig
from resnetlab.models.configs.external import ExternalConfig
from resnetlab.models.configs.imagenet import ImageNetConfig
from resnetlab.schema import discriminated_by

__all__ = [
    "MAX_DEPTH",
    "AlexNetCifarConfig",
    "BagOfWordsConfig",
    "BuiltinConfig",
    "CifarConfig",
    "DenseNetConfig",
    "ExternalConfig",
    "ImageNetConfig",
    "LeNet5Config",
    "ModelConfig",
    "Shortcut",
    "VGGConfig",
    "cifar_config",
]

BuiltinConfig = (
    CifarConfig
    | ImageNetConfig
    | LeNet5Config
    | AlexNetCifarConfig
    | VGGConfig
    | DenseNetConfig
    | BagOfWordsConfig
)
"""Families whose cost follows from the config alone."""

ModelConfig = Annotated[BuiltinConfig | ExternalConfig, discriminated_by("family")]
"""Union of all model families; `_construct` in build.py has a case for each."""
