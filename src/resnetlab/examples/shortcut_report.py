"""The networks of "Residual Networks: Deep Residual Learning for Image Recognition", as its authors' code runs them.

They are those of He et al. 2016, sec. 4.2, with PyTorch's own first weights. The code's evaluation never leaves
training mode: each batch of 32 test images is normalised by its own mean and variance, so a score depends on the images
that an image shares its batch with. `evaluation = "running statistics"` is the same network evaluated as is usual: one
seed trains both to the same weights.
"""

from __future__ import annotations

from typing import Self

from torch import nn

from resnetlab.models.configs.cifar import CifarNet, Shortcut, cifar
from resnetlab.models.nets.cifar import CifarNetwork

EVALUATIONS = ("batch statistics", "running statistics")


def plain(depth: int = 20, evaluation: str = "batch statistics", num_classes: int = 10) -> nn.Module:
    """The plain network of `depth` = 6n + 2. Raises ValueError for another depth or evaluation."""
    return _network(depth, "none", evaluation, num_classes)


def residual(
    depth: int = 20, option: Shortcut = "A", evaluation: str = "batch statistics", num_classes: int = 10
) -> nn.Module:
    """The residual network of `depth` = 6n + 2 with shortcuts of option A or B. Raises ValueError as `plain`."""
    return _network(depth, option, evaluation, num_classes)


def _network(depth: int, shortcut: Shortcut, evaluation: str, classes: int) -> nn.Module:
    if evaluation not in EVALUATIONS:
        raise ValueError(f'evaluation = "{evaluation}" is none of {", ".join(EVALUATIONS)}')
    kind = BatchStatistics if evaluation == "batch statistics" else CifarNetwork
    spec: CifarNet = cifar(depth, shortcut)
    return kind(spec, 3, classes)


class BatchStatistics(CifarNetwork):
    """A network that is never in evaluation mode."""

    stateful_evaluation = 32
    """Images a batch of an evaluation, on whose composition the scores depend."""

    def train(self, mode: bool = True) -> Self:
        """Training mode, whatever is asked for."""
        del mode
        return super().train(True)
