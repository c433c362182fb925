"""A trained network with one of its blocks switched off: what each block is worth.

A residual block gives what its way around gives; a plain one passes its input on, with stride and zero channels where
the shape changes. No weight is changed, and nothing is trained again (Veit et al. 2016, sec. 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnetlab.data.resident import Resident
from resnetlab.data.splits import load
from resnetlab.errors import mistake
from resnetlab.models.blocks import BasicBlock, Block
from resnetlab.models.shortcuts import Pad
from resnetlab.models.weights import load_weights, read_weights
from resnetlab.runs.directory import RunDirectory
from resnetlab.training.accelerate import prepare
from resnetlab.training.evaluate import evaluate
from resnetlab.training.loop import Learner


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


def drop_blocks(folder: Path, data: str = "", say: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """Top-1 accuracy on the test split of the run in `folder`, whole and without each block.

    `data` says where the data lie now. Raises InputError for a run that is not finished, has no blocks, or other data.
    """
    directory = RunDirectory(folder)
    if not (folder / "weights.safetensors").exists():
        raise mistake(str(folder), "no finished run", "give the folder of a run that has weights.safetensors")
    file = directory.file()
    source = replace(file.data, source=data) if data else file.data
    dataset = load(source, folder.resolve().parent.parent / "cache", say)
    if dataset.identity != file.run.data:
        raise mistake(str(folder), "the data differ from the run's", "--data with the data that it was trained on")
    run = file.run
    device = prepare(run.numerics)
    learner = Learner(run.model, run.recipe, run.numerics, run.seed, dataset.train, len(dataset.classes), device)
    load_weights(learner.model, read_weights(folder / "weights.safetensors")[0], str(folder))
    learner.average = []  # the weights that were kept are those by which the run was judged
    blocks = blocks_of(learner.model)
    if not blocks:
        raise mistake(str(folder), f"{run.model.slug} has no blocks", "give the run of a residual or plain network")
    images = Resident.of(dataset.test, device)

    def accuracy() -> float:
        return 100 - evaluate(learner.model, learner.forward, images).top1_error_pct

    whole = accuracy()
    rows: list[dict[str, Any]] = [{"without": "nothing", "accuracy_pct": whole, "lost_points": 0.0}]
    for name, block in blocks.items():
        with switched_off(block):
            left = accuracy()
        rows.append({"without": name, "accuracy_pct": left, "lost_points": whole - left})
    return rows
