"""Block ablation: accuracy of a trained network without one of its blocks.

A residual block without its branch returns its shortcut. A plain block returns its input, with a
stride and zero channels where the shape changes. No weight is changed, and nothing is trained again
(Veit et al. 2016, sec. 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from resnetlab.data.device_images import DeviceImages
from resnetlab.inspection.diagnostics_config import BlockAblation, BlockAblations
from resnetlab.models.nets.blocks import BasicBlock, Block
from resnetlab.models.nets.shortcuts import ZeroPadShortcut
from resnetlab.training.evaluate import evaluate
from resnetlab.training.state import ScratchTrainState


def named_blocks(model: nn.Module) -> dict[str, BasicBlock | Block]:
    """Return the blocks of a network by name, in order."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, BasicBlock | Block)
    }


@contextmanager
def without_branch(block: BasicBlock | Block) -> Iterator[None]:
    """Remove a block's branch within the `with` block."""
    original_branch = block.residual
    if block.shortcut is None:
        convolutions = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
        stride = max(module.stride[0] for module in convolutions)
        branch: Callable[[Tensor], Tensor] = ZeroPadShortcut(
            convolutions[0].in_channels, convolutions[-1].out_channels, stride
        )
    else:

        def branch(x: Tensor) -> Tensor:
            return torch.zeros_like(original_branch(x))

    vars(block)["residual"] = branch
    try:
        yield
    finally:
        del vars(block)["residual"]


def ablate_blocks(state: ScratchTrainState, test: DeviceImages) -> BlockAblations:
    """Measure top-1 accuracy on the test split, for the complete network and without each block.

    The weights are those that `state` evaluates (the EMA, if there is one).
    """

    def accuracy() -> float:
        return 100 - evaluate(state.model, state.forward, test).top1_error_pct

    full_accuracy = accuracy()
    rows = [BlockAblation(without="nothing", accuracy_pct=full_accuracy, accuracy_drop=0.0)]
    for name, block in named_blocks(state.model).items():
        with without_branch(block):
            ablated_accuracy = accuracy()
        rows.append(
            BlockAblation(
                without=name,
                accuracy_pct=ablated_accuracy,
                accuracy_drop=full_accuracy - ablated_accuracy,
            )
        )
    return BlockAblations(images=len(test), blocks=tuple(rows))
