"""Optimizers of torch, configured by a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from resnetlab.recipes.train import SGD, Adam, AdamW, Recipe, RMSprop


def build_optimizer(
    recipe: Recipe,
    model: nn.Module,
    lr_scale: Callable[[str], float] = lambda _: 1.0,
    *,
    capturable: bool = False,
) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over the trainable parameters.

    It runs one fused kernel a step where torch has one. `lr_scale` maps a parameter's name to
    its fraction of the full learning rate. With `capturable`, everything that changes from step to
    step is on the GPU, as a CUDA graph needs; fused SGD needs no such option.
    """
    settings = recipe.optimizer
    by_group: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            no_decay = not recipe.decay_norm_and_bias and parameter.ndim <= 1
            by_group.setdefault((no_decay, lr_scale(name)), []).append(parameter)
    groups: list[dict[str, Any]] = []
    # Groups with weight decay come first, and among them those with the largest learning rate.
    for no_decay, scale in sorted(by_group, key=lambda group: (group[0], -group[1])):
        group = {
            "params": by_group[no_decay, scale],
            "weight_decay": 0.0 if no_decay else settings.weight_decay,
            "lr": scale * settings.lr,
        }
        groups.append(group)
    common: dict[str, Any] = {"params": groups, "lr": settings.lr}
    match settings:
        case SGD():
            momentum, nesterov = settings.momentum, settings.nesterov
            return torch.optim.SGD(**common, momentum=momentum, nesterov=nesterov, fused=True)
        case Adam() | AdamW():
            adam = torch.optim.Adam if isinstance(settings, Adam) else torch.optim.AdamW
            moments: dict[str, Any] = {"betas": settings.betas, "eps": settings.eps}
            return adam(**common, **moments, fused=True, capturable=capturable)
        case RMSprop():  # torch has no fused kernel for it
            average: dict[str, Any] = {"alpha": settings.alpha, "eps": settings.eps}
            return torch.optim.RMSprop(**common, **average, foreach=True, capturable=capturable)
        case _:
            assert_never(settings)


def lrs_to_device(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Store learning rates as fp32 tensors on `device`, as torch's fused kernels require."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)


def set_lr(optimizer: torch.optim.Optimizer, lrs: list[float]) -> None:
    """Set each group's learning rate; a tensor is filled in place, for captured steps."""
    for group, rate in zip(optimizer.param_groups, lrs, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def optimizer_state_dict(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's state tensors by name, `<parameter>/<quantity>`.

    The state dict of torch numbers the parameters; safetensors files need names, and a name still
    fits when the order of the parameters changes.
    """
    tensors = {}
    for name, parameter in model.named_parameters():
        for quantity, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{quantity}"] = value
    return tensors


def load_optimizer_state_dict(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Restore the state that `optimizer_state_dict` returned.

    Each tensor gets the device and the memory format of its parameter.
    """
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        parameter = parameters[name]
        layout_of = parameter if value.shape == parameter.shape else value
        # The optimizer gets a copy, because fused Adam counts its steps in place.
        target = torch.empty_like(layout_of, device=parameter.device)
        optimizer.state[parameter][quantity] = target.copy_(value)
