"""A trained network with one of its blocks switched off: what each block is worth.

A residual block gives what its way around gives; a plain one passes its input on, with stride and zero channels where
the shape changes. No weight is changed, and nothing is trained again (Veit et al. 2016, sec. 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from resnetlab.data.device_images import Resident
from resnetlab.inspection.diagnostics_config import BlockWorth, DroppedBlocks
from resnetlab.models.nets.blocks import BasicBlock, Block
from resnetlab.models.nets.shortcuts import Pad
from resnetlab.training.evaluate import evaluate
from resnetlab.training.state import Learner


def blocks_of(model: nn.Module) -> dict[str, BasicBlock | Block]:
    """By name, in the order of the network."""
    return {name: module for name, module in model.named_modules() if isinstance(module, BasicBlock | Block)}


@contextmanager
def switched_off(block: BasicBlock | Block) -> Iterator[None]:
    """The block without its branch, for as long as the context lasts."""
    held = block.branch
    if block.shortcut is None:
        convolutions = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
        stride = max(module.stride[0] for module in convolutions)
        branch: Callable[[Tensor], Tensor] = Pad(convolutions[0].in_channels, convolutions[-1].out_channels, stride)
    else:

        def branch(x: Tensor) -> Tensor:
            return torch.zeros_like(held(x))

    vars(block)["branch"] = branch
    try:
        yield
    finally:
        del vars(block)["branch"]


def drop_blocks(learner: Learner, test: Resident) -> DroppedBlocks:
    """Top-1 accuracy on the test split of the network by which `learner` is judged, whole and without each block."""

    def accuracy() -> float:
        return 100 - evaluate(learner.model, learner.forward, test).top1_error_pct

    whole = accuracy()
    worth = [BlockWorth(without="nothing", accuracy_pct=whole, lost_points=0.0)]
    for name, block in blocks_of(learner.model).items():
        with switched_off(block):
            left = accuracy()
        worth.append(BlockWorth(without=name, accuracy_pct=left, lost_points=whole - left))
    return DroppedBlocks(images=len(test), blocks=tuple(worth))
