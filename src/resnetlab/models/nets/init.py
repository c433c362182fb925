"""Weight initialization.

Each parameter has its own random stream, named after it, so that a plain and a residual network
start with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from resnetlab.models.nets.shortcuts import GatedShortcut

GeneratorFor = Callable[[str], torch.Generator]
"""Function from a parameter's name to its random generator on the CPU."""


@torch.no_grad()
def init_weights(
    model: nn.Module, kind: Literal["he", "pytorch"], generator_for: GeneratorFor
) -> None:
    """Initialize convolutions and linear layers; normalization layers start as the identity.

    he: normal with sd sqrt(2 / fan-in), biases 0 (He et al. 2015, "Delving deep into rectifiers",
    eq. 10). pytorch: uniform in +-1 / sqrt(fan-in), weights and biases (the default of torch.nn).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()  # draws nothing: weight 1, bias 0, mean 0, variance 1
        if not isinstance(module, nn.Conv2d | nn.Linear):
            parameter = next(module.parameters(recurse=False), None)
            # A parameter without a rule would keep uninitialized memory.
            assert parameter is None or isinstance(module, nn.BatchNorm2d), f"no rule for {name}"
            continue
        fan_in = module.weight[0].numel()
        is_he = kind == "he"
        scale = (2 / fan_in) ** 0.5 if is_he else fan_in**-0.5
        _fill_(module.weight, generator_for(f"{name}.weight"), normal=is_he, scale=scale)
        if module.bias is not None and is_he:
            module.bias.zero_()
        elif module.bias is not None:
            _fill_(module.bias, generator_for(f"{name}.bias"), normal=False, scale=scale)
    for module in model.modules():
        if isinstance(module, GatedShortcut) and module.gate.bias is not None:
            module.gate.bias.fill_(GatedShortcut.initial_bias)


def _fill_(parameter: Tensor, generator: torch.Generator, normal: bool, scale: float) -> None:
    values = torch.empty(parameter.shape)  # on the CPU: the same numbers for every device
    if normal:
        values.normal_(0, scale, generator=generator)
    else:
        values.uniform_(-scale, scale, generator=generator)
    parameter.copy_(values)
