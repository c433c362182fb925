"""Block ablation: accuracy of a trained network without one or several of its blocks.

A residual block without its branch returns its shortcut. A plain block returns its input, with a
stride and zero channels where the shape changes. No weight is changed, and nothing is trained again
(Veit et al. 2016, sec. 4.1).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from resnetlab.data.device_images import DeviceImages
from resnetlab.inspection.diagnostics_records import BlockAblation, BlockAblations, BlockSet
from resnetlab.models.nets.blocks import BasicBlock, Block
from resnetlab.models.nets.shortcuts import ZeroPadShortcut
from resnetlab.training.evaluate import evaluate
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.rng import make_generator

MAX_SETS = 500
"""Largest number of sets of blocks that are measured: as many evaluations of the test split."""
NUM_ORDERS = 5
"""Number of random orders in which blocks are left out one after another."""
MAX_SIZES = 50
"""Largest number of sizes of the sets from random orders."""


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
    if block.shortcut is None:
        convolutions = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
        stride = max(module.stride[0] for module in convolutions)
        branch: Callable[[Tensor], Tensor] = ZeroPadShortcut(
            convolutions[0].in_channels, convolutions[-1].out_channels, stride
        )
    else:

        def branch(x: Tensor) -> Tensor:
            return x.new_zeros(())

    vars(block)["branch"] = branch
    try:
        yield
    finally:
        del vars(block)["branch"]


def ablate_blocks(
    state: FromScratchState, test: DeviceImages, with_sets: bool = False
) -> BlockAblations:
    """Measure top-1 accuracy on the test split, for the complete network and without each block.

    The weights are those that `state` evaluates (the EMA, if there is one).

    Args:
        state: Training state of the run.
        test: Images of the test split.
        with_sets: Measure the sets of blocks of `draw_block_sets` too.
    """
    full_accuracy = _accuracy_pct(state, test)
    rows = [BlockAblation(without="nothing", accuracy_pct=full_accuracy, accuracy_drop_points=0.0)]
    for name, block in named_blocks(state.model).items():
        with without_branch(block):
            ablated_accuracy = _accuracy_pct(state, test)
        rows.append(
            BlockAblation(
                without=name,
                accuracy_pct=ablated_accuracy,
                accuracy_drop_points=full_accuracy - ablated_accuracy,
            )
        )
    sets = _ablate_sets(state, test) if with_sets else ()
    return BlockAblations(images=len(test), blocks=tuple(rows), sets=sets)


def _ablate_sets(state: FromScratchState, test: DeviceImages) -> tuple[BlockSet, ...]:
    """Measure the accuracy without each set of blocks of `draw_block_sets`."""
    blocks = list(named_blocks(state.model).values())
    measured = []
    for numbers in draw_block_sets(len(blocks)):
        with ExitStack() as stack:
            for number in numbers:
                stack.enter_context(without_branch(blocks[number - 1]))
            measured.append(BlockSet(without=numbers, accuracy_pct=_accuracy_pct(state, test)))
    return tuple(measured)


def draw_block_sets(count: int) -> tuple[tuple[int, ...], ...]:
    """Return at most `MAX_SETS` sets of two or more of `count` blocks, numbered from 1.

    First come random orders: of each order, the first 2, 3, ... and last all blocks (random sets of
    blocks, as in Veit et al. 2016, sec. 4.2; here a set contains the smaller ones of its order).
    Then come the pairs, all of them or as many as the limit allows, drawn at random. The draw
    depends on `count` alone, so that networks of the same depth have the same sets.
    """
    generator = make_generator(0, "block sets", count)
    orders = [torch.randperm(count, generator=generator).tolist() for _ in range(NUM_ORDERS)]
    sets = [
        tuple(sorted(index + 1 for index in order[:size]))
        for size in _set_sizes(count)
        for order in orders
    ]
    pairs = list(itertools.combinations(range(1, count + 1), 2))
    shuffled = torch.randperm(len(pairs), generator=generator).tolist()
    sets += [pairs[index] for index in shuffled]
    return tuple(dict.fromkeys(sets))[:MAX_SETS]


def _set_sizes(count: int) -> Sequence[int]:
    """Return the sizes of the sets from random orders: 2 to `count`, or `MAX_SIZES` of them."""
    if count - 1 <= MAX_SIZES:
        return range(2, count + 1)
    return torch.linspace(2, count, MAX_SIZES).round().int().tolist()


def _accuracy_pct(state: FromScratchState, test: DeviceImages) -> float:
    return 100 - evaluate(state.model, state.eval_forward_pixels, test).top1_error_pct
