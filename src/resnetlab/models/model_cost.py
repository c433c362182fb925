"""Cost of a network: parameters and multiply-adds.

The cost of this package's own networks follows from their configs, without torch. A network of
another package is built on the meta device, without memory or weights; torch is imported only then.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resnetlab.errors import first_line, input_error
from resnetlab.models.code_hash import HEX_DIGITS, PARAMETERS, loaded_module_hashes
from resnetlab.models.configs import ExternalConfig, ModelConfig

if TYPE_CHECKING:
    from torch import nn


def model_cost(config: ModelConfig, channels: int, num_classes: int, side: int) -> tuple[int, int]:
    """Return parameters, and multiply-adds for one image of `side` pixels.

    An external network is built to be counted. Raises InputError when the network cannot take such
    images.
    """
    if isinstance(config, ExternalConfig):
        return traced_cost(config, channels, num_classes, side)
    return config.cost(channels, num_classes, side)


@functools.lru_cache(maxsize=256)  # a study asks once for each run
def traced_cost(config: ModelConfig, channels: int, num_classes: int, side: int) -> tuple[int, int]:
    """Count parameters and multiply-adds of the network, built on the meta device."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from resnetlab.models.build import build_uninitialized

    with torch.device("meta"):
        model = build_uninitialized(config, channels, num_classes).eval()
        images = torch.zeros(1, channels, side, side)
    counter: Any = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            model(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        problem = f"cannot take images of {channels}x{side}x{side}: {first_line(error)}"
        raise input_error(
            config.slug, problem, "images of another size, or another network"
        ) from None
    return count_parameters(model), counter.get_total_flops() // 2


def with_code(config: ModelConfig, channels: int, num_classes: int) -> ModelConfig:
    """Return `config` with the hashes of its code and of its parameters' names and shapes.

    Only a network of the user's own code has them. It is built on the meta device.
    """
    if not (isinstance(config, ExternalConfig) and config.needs_consent):
        return config
    import torch

    from resnetlab.models.build import build_uninitialized

    with torch.device("meta"):
        state = build_uninitialized(config, channels, num_classes).state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in state.items()}
    digest = hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:HEX_DIGITS]
    return replace(config, code=loaded_module_hashes(config.source) | {PARAMETERS: digest})


def count_parameters(model: nn.Module, trainable: bool = False) -> int:
    """Return the number of parameters; with `trainable`, only of those that require a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)
