"""Optimisers of torch, set up as a recipe says."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

import torch
from torch import Tensor, nn

from resnetlab.recipes.train import SGD, Adam, AdamW, Recipe, RMSprop


def build_optimiser(
    recipe: Recipe, model: nn.Module, share: Callable[[str], float] = lambda _: 1.0, *, capturable: bool = False
) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that ask for a gradient; one fused kernel a step where there is one.

    `share` is the part of the full rate at which the parameter of that name learns. `capturable`: in the form that a
    captured step needs, with all that changes from step to step on the GPU; fused SGD has no other.
    """
    settings = recipe.optimiser
    by_kind: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spared = not recipe.decay_norm_and_bias and parameter.ndim <= 1
            by_kind.setdefault((spared, -share(name)), []).append(parameter)
    groups = [
        {"params": held, "weight_decay": 0.0 if spared else settings.weight_decay, "lr": -rate * settings.lr}
        for (spared, rate), held in sorted(by_kind.items(), key=lambda item: item[0])
    ]
    match settings:
        case SGD():
            return torch.optim.SGD(
                groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov, fused=True
            )
        case Adam():
            return torch.optim.Adam(
                groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True, capturable=capturable
            )
        case AdamW():
            return torch.optim.AdamW(
                groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True, capturable=capturable
            )
        case RMSprop():  # of which torch has no fused kernel
            return torch.optim.RMSprop(
                groups, lr=settings.lr, alpha=settings.alpha, eps=settings.eps, foreach=True, capturable=capturable
            )
        case _:
            assert_never(settings)


def rates_as_tensors(optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    """Let each group read its learning rate from `device`, as fp32: the fused kernels of torch take no other."""
    for group in optimiser.param_groups:
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)


def set_rates(optimiser: torch.optim.Optimizer, rates: list[float]) -> None:
    """Give each group its learning rate; where that is a tensor, a captured step reads the new value from it."""
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def optimiser_tensors(optimiser: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state as `<parameter>/<quantity>`."""
    held = {}
    for name, parameter in model.named_parameters():
        for quantity, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                held[f"{name}/{quantity}"] = value
    return held


def restore_optimiser(optimiser: torch.optim.Optimizer, model: nn.Module, held: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave; each tensor takes its parameter's device and memory layout."""
    for name, parameter in model.named_parameters():
        prefix = f"{name}/"
        state = {key.removeprefix(prefix): value for key, value in held.items() if key.startswith(prefix)}
        for quantity, value in state.items():
            like = parameter if value.shape == parameter.shape else value
            place = torch.empty_like(like, device=parameter.device)  # its own: fused Adam counts its steps in place
            optimiser.state[parameter][quantity] = place.copy_(value)
