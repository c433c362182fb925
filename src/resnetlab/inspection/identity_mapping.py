"""Identity mapping: how well blocks learn it. A residual block needs F = 0, a plain one F = x.

He et al. 2016, sec. 3.1: if the identity were the best map, pushing a residual to zero should be
easier than fitting the identity with a stack of layers. This module measures it on random maps,
with the blocks of the CIFAR networks.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.messages import Notify, format_count, silent
from resnetlab.models.nets.blocks import BasicBlock
from resnetlab.models.nets.init import init_weights
from resnetlab.training.rng import make_generator

CHANNELS, SIDE, BATCH_SIZE = 8, 8, 32

LEARNING_RATES = (1e-3, 1e-2, 3e-2)
"""Learning rates of Adam. Each kind uses its best: at the lowest, neither learns much."""


def build_stack(blocks: int, residual: bool, seed: int) -> nn.Module:
    """Return basic blocks; a plain and a residual stack start from the same weights."""
    model = nn.Sequential(
        *(
            BasicBlock(CHANNELS, CHANNELS, 1, nn.Identity() if residual else None, True, 0.0)
            for _ in range(blocks)
        )
    )
    init_weights(model, "he", lambda name: make_generator(seed, "init", name))
    return model


def random_maps(seed: int, step: int) -> Tensor:
    """Return random non-negative maps (32, 8, 8, 8), which a block can reproduce exactly."""
    return torch.randn(
        BATCH_SIZE, CHANNELS, SIDE, SIDE, generator=make_generator(seed, "identity", step)
    ).relu()


def unexplained_variance(
    blocks: int, residual: bool, seed: int, steps: int, lr: float
) -> tuple[float, float]:
    """Return the unexplained fraction of the variance before and after `steps` of Adam."""
    model = build_stack(blocks, residual, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for step in range(steps):
        x = random_maps(seed, step)
        loss = F.mse_loss(model(x), x)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if not step:
            before = float(loss.detach() / x.var())
    with torch.no_grad():
        x = random_maps(seed, steps)
        return before, float(F.mse_loss(model(x), x) / x.var())


def measure_identity_mapping(
    depths: tuple[int, ...] = (1, 4, 8),
    seeds: int = 3,
    steps: int = 120,
    lrs: tuple[float, ...] = LEARNING_RATES,
    notify: Notify = silent,
) -> list[dict[str, Any]]:
    """Return unexplained variance in percent before and after training, a row per depth and kind.

    A row has the mean, minimum and maximum over the seeds, at the learning rate of `lrs` with the
    lowest mean. Seconds are the total of all seeds and learning rates.
    """
    rows: list[dict[str, Any]] = []
    for blocks in depths:
        for kind in ("plain", "residual"):
            start_time = time.monotonic()
            count = format_count(blocks, "block")
            notify(
                f"{count}, {kind}: {format_count(seeds * len(lrs), 'stack')}, "
                f"{format_count(steps, 'step')} each ({len(rows) + 1} of {2 * len(depths)})"
            )
            results = {}
            for lr in lrs:
                results[lr] = [
                    unexplained_variance(blocks, kind == "residual", seed, steps, lr)
                    for seed in range(seeds)
                ]
            lr, pairs = min(results.items(), key=lambda item: sum(after for _, after in item[1]))
            after = [100 * pair[1] for pair in pairs]
            rows.append(
                {
                    "blocks": blocks,
                    "stack": kind,
                    "before_pct": 100 * sum(pair[0] for pair in pairs) / seeds,
                    "after_pct": sum(after) / seeds,
                    "min_pct": min(after),
                    "max_pct": max(after),
                    "best_lr": lr,
                    "seeds": seeds,
                    "steps": steps,
                    "seconds": round(time.monotonic() - start_time, 2),
                }
            )
    return rows


def identity_sentences(rows: list[dict[str, Any]]) -> list[str]:
    """Return the conclusion that the rows of `measure_identity_mapping` support, by rule."""
    sentences, wins = [], []
    by_depth = {
        row["blocks"]: {other["stack"]: other for other in rows if other["blocks"] == row["blocks"]}
        for row in rows
    }
    for blocks, pair in by_depth.items():
        plain, residual = pair["plain"], pair["residual"]
        count = format_count(blocks, "block")
        low, high = sorted((plain, residual), key=lambda row: row["after_pct"])
        separate = low["max_pct"] < high["min_pct"]
        wins.append(separate and low is residual)
        times = high["after_pct"] / low["after_pct"] if low["after_pct"] else float("inf")
        sentences.append(
            f"With {count} the plain stack leaves {plain['after_pct']:.3g} % unexplained and the "
            f"residual stack {residual['after_pct']:.3g} %: "
            + (
                f"the {low['stack']} stack is nearer to the identity, {times:.3g} times."
                if separate
                else "their seeds overlap, so that neither is nearer to the identity."
            )
        )
    sentences.append(
        f"The residual stack learns the identity better at {sum(wins)} of {len(wins)} depths, for "
        "every seed of both."
    )
    return sentences
