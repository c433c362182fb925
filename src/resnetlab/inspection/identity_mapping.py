"""Whether a stack of blocks learns to give what it takes: for a residual block F = 0, for a plain one F = x.

He et al. 2016, sec. 3.1: were the best map the identity, pushing a residual to zero should be easier than fitting the
identity by a stack of layers. Here it is measured, on maps of random numbers, with the blocks of the CIFAR networks.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.models.nets.blocks import BasicBlock
from resnetlab.models.nets.init import initialise
from resnetlab.training.rng import stream

CHANNELS, SIDE, BATCH = 8, 8, 32

RATES = (1e-3, 1e-2, 3e-2)
"""Of Adam. Each kind is judged at the best of them: at the lowest, neither learns much in so few steps."""


def stack(blocks: int, residual: bool, seed: int) -> nn.Module:
    """Basic blocks with batch normalisation; a plain stack and its residual twin start from the same weights."""
    model = nn.Sequential(
        *(BasicBlock(CHANNELS, CHANNELS, 1, nn.Identity() if residual else None, True, 0.0) for _ in range(blocks))
    )
    initialise(model, "he", lambda name: stream(seed, "init", name))
    return model


def maps(seed: int, step: int) -> Tensor:
    """(32, 8, 8, 8), not negative, as what a ReLU gives: a block can give them back exactly."""
    return torch.randn(BATCH, CHANNELS, SIDE, SIDE, generator=stream(seed, "identity", step)).relu()


def unexplained(blocks: int, residual: bool, seed: int, steps: int, lr: float) -> tuple[float, float]:
    """Share of the maps' variance that the stack gets wrong, before and after `steps` of Adam, in training mode."""
    model = stack(blocks, residual, seed)
    optimiser = torch.optim.Adam(model.parameters(), lr)
    for step in range(steps):
        x = maps(seed, step)
        loss = F.mse_loss(model(x), x)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if not step:
            before = float(loss.detach() / x.var())
    with torch.no_grad():
        x = maps(seed, steps)
        return before, float(F.mse_loss(model(x), x) / x.var())


def measure(
    depths: tuple[int, ...] = (1, 4, 8), seeds: int = 3, steps: int = 120, rates: tuple[float, ...] = RATES
) -> list[dict[str, Any]]:
    """A row a depth and kind: shares of variance before and after, in per cent; the mean, least and most of the seeds,
    at that of the `rates` which leaves the least on average. Seconds are of all seeds and rates together."""
    rows = []
    for blocks in depths:
        for kind in ("plain", "residual"):
            began = time.monotonic()
            tried = {
                lr: [unexplained(blocks, kind == "residual", seed, steps, lr) for seed in range(seeds)] for lr in rates
            }
            lr, pairs = min(tried.items(), key=lambda item: sum(after for _, after in item[1]))
            after = [100 * pair[1] for pair in pairs]
            rows.append(
                {
                    "blocks": blocks, "stack": kind, "before_pct": 100 * sum(pair[0] for pair in pairs) / seeds,
                    "after_pct": sum(after) / seeds, "least_pct": min(after), "most_pct": max(after), "best_lr": lr,
                    "seeds": seeds, "steps": steps, "seconds": round(time.monotonic() - began, 2),
                }
            )  # fmt: skip
    return rows
