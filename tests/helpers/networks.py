"""Networks with the initial weights of a seed."""

from __future__ import annotations

from torch import nn

from resnetlab.models.build import build_model
from resnetlab.models.configs import ModelConfig
from resnetlab.training.rng import make_generator


def build(config: ModelConfig, channels: int = 3, classes: int = 10, seed: int = 0) -> nn.Module:
    """Build a network whose weights have the streams of random numbers of a run."""
    return build_model(config, channels, classes, lambda name: make_generator(seed, "init", name))
