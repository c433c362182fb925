"""Context manager that restores a model's buffers and train/eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def preserve_buffers_and_mode(model: nn.Module) -> Iterator[None]:
    """Restore every buffer of `model` and the mode of each module on exit."""
    modules = [(module, module.training, dict(module._buffers)) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, training, buffers_of_module in modules:
            module.training = training
            # A module may have replaced a buffer by another tensor.
            module._buffers.update(buffers_of_module)
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)
