"""Context managers that restore a model's train/eval mode and its buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def preserve_mode(model: nn.Module) -> Iterator[None]:
    """Restore the mode of each module of `model` on exit."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def preserve_buffers_and_mode(model: nn.Module) -> Iterator[None]:
    """Restore every buffer of `model` and the mode of each module on exit."""
    by_module = [(module, dict(module._buffers)) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with preserve_mode(model):
        try:
            yield
        finally:
            for module, buffers_of_module in by_module:
                # A module may have replaced a buffer by another tensor.
                module._buffers.update(buffers_of_module)
            with torch.no_grad():
                for buffer, saved in buffers:
                    buffer.copy_(saved)
