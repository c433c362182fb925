"""Cost of a network: parameters and multiply-adds.

The cost of this package's own networks follows from their configs, without torch. A network of
another package is built on the meta device, without memory or weights; torch is imported only then.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from resnetlab.errors import mistake
from resnetlab.models.configs import External, Model

if TYPE_CHECKING:
    from torch import nn


def cost(spec: Model, channels: int, classes: int, side: int) -> tuple[int, int]:
    """Return the parameters, and the multiply-adds of convolutions and linear layers for one image
    of `side` pixels.

    An external network is built to be counted. Raises InputError when the network cannot take such
    images.
    """
    if isinstance(spec, External):
        return built_cost(spec, channels, classes, side)
    return spec.cost(channels, classes, side)


@functools.lru_cache(maxsize=256)  # a study asks once for each run
def built_cost(spec: Model, channels: int, classes: int, side: int) -> tuple[int, int]:
    """Build the network on the meta device and count the same numbers as `cost`."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from resnetlab.models.build import skeleton

    with torch.device("meta"):
        model = skeleton(spec, channels, classes).eval()
        images = torch.zeros(1, channels, side, side)
    counter: Any = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            model(images)
    except RuntimeError as error:
        problem = f"cannot take images of {channels}x{side}x{side}: {str(error).splitlines()[0]}"
        raise mistake(spec.slug, problem, "images of another size, or another network") from None
    return parameters(model), counter.get_total_flops() // 2


def parameters(model: nn.Module, trainable: bool = False) -> int:
    """Return the number of parameters; with `trainable`, only of those that require a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)
