"""Networks of "Residual Networks: Deep Residual Learning for Image Recognition", as its authors'
code runs them.

They are those of He et al. 2016, sec. 4.2, with PyTorch's default initialization. The code's
evaluation never leaves training mode: each batch of 32 test images is normalized by its own mean
and variance, so a score depends on the other images of its batch. `evaluation = "running
statistics"` is the same network with the usual evaluation: one seed trains both to the same
weights.
"""

from __future__ import annotations

from typing import Self

from torch import nn

from resnetlab.models.configs.cifar import CifarConfig, Shortcut, cifar_config
from resnetlab.models.nets.cifar import CifarNetwork

EVALUATIONS = ("batch statistics", "running statistics")


def plain(
    depth: int = 20, evaluation: str = "batch statistics", num_classes: int = 10
) -> nn.Module:
    """Return the plain network of `depth` = 6n + 2. Raises ValueError for another argument."""
    return _network(depth, "none", evaluation, num_classes)


def residual(
    depth: int = 20,
    option: Shortcut = "A",
    evaluation: str = "batch statistics",
    num_classes: int = 10,
) -> nn.Module:
    """Return the residual network with shortcut option A or B. Raises ValueError as `plain`."""
    return _network(depth, option, evaluation, num_classes)


def _network(depth: int, shortcut: Shortcut, evaluation: str, classes: int) -> nn.Module:
    if evaluation not in EVALUATIONS:
        raise ValueError(f'evaluation = "{evaluation}" is none of {", ".join(EVALUATIONS)}')
    kind = BatchStatistics if evaluation == "batch statistics" else CifarNetwork
    spec: CifarConfig = cifar_config(depth, shortcut)
    return kind(spec, 3, classes)


class BatchStatistics(CifarNetwork):
    """Network that is never in evaluation mode."""

    stateful_evaluation = 32
    """Batch size of an evaluation; the scores depend on the images in a batch."""

    def train(self, mode: bool = True) -> Self:
        """Set training mode, whatever `mode` is."""
        del mode
        return super().train(True)
