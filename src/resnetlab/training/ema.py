"""Exponential moving average (EMA) of a model's trainable parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class EMA:
    """Exponential moving average of parameters: `decay` of the average, the rest of the new value.

    Args:
        parameters: Parameters at the start, which are the first average.
        decay: Weight of the average in each update, from 0 to 1.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.weights: list[Tensor] = [p.detach().clone() for p in parameters]
        self.decay = decay

    @torch.no_grad()
    def update(self, parameters: Iterable[nn.Parameter]) -> None:
        """Update the average with the parameters, in place."""
        torch._foreach_lerp_(self.weights, [p.detach() for p in parameters], 1 - self.decay)
