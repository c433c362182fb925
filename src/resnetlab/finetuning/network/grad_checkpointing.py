"""Gradient checkpointing: less memory for activations, which the backward pass computes again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from resnetlab.models.transfer import list_parts


@contextlib.contextmanager
def grad_checkpointing(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Checkpoint each part of a network (Chen et al. 2016) for the `with` block, if enabled."""
    parts = [module for _, module in list_parts(model)] if enabled else []
    before = [vars(module).get("forward") for module in parts]
    for module in parts:
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    try:
        yield
    finally:
        for module, forward in zip(parts, before, strict=True):
            if forward is None:  # the method of its class
                del module.forward
            else:
                module.forward = forward
