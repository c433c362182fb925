"""Model configs, one dataclass for each family, and their union. Free of torch."""

from __future__ import annotations

from typing import Annotated

from resnetlab.models.configs.bag_of_words import BagOfWords
from resnetlab.models.configs.cifar import MAX_DEPTH, CifarNet, Shortcut, cifar
from resnetlab.models.configs.classic import VGG, AlexNetCifar, LeNet5
from resnetlab.models.configs.dense import DenseNet
from resnetlab.models.configs.external import External
from resnetlab.models.configs.imagenet import ImageNetResNet
from resnetlab.schema import tagged

__all__ = [
    "MAX_DEPTH",
    "VGG",
    "AlexNetCifar",
    "BagOfWords",
    "CifarNet",
    "DenseNet",
    "External",
    "ImageNetResNet",
    "LeNet5",
    "Model",
    "Own",
    "Shortcut",
    "cifar",
]

Own = CifarNet | ImageNetResNet | LeNet5 | AlexNetCifar | VGG | DenseNet | BagOfWords
"""Families whose cost follows from the config alone."""

Model = Annotated[Own | External, tagged("family")]
"""Union of all model families; `skeleton` in build.py has a case for each."""
