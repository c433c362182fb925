"""A network lent to be looked at, and given back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put back every buffer and the mode of `model` when the context ends."""
    modules = [(module, module.training, dict(module._buffers)) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, training, held in modules:
            module.training = training
            module._buffers.update(held)  # also where a module put a new tensor in its place
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
