"""What any network costs: as its spec says, or as built on the meta device: no memory, no weights.

torch is imported where a network is built, and not before: the cost of our own networks follows from their specs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from resnetlab.errors import mistake
from resnetlab.models.configs import External, Model

if TYPE_CHECKING:
    from torch import nn


def cost(spec: Model, channels: int, classes: int, side: int) -> tuple[int, int]:
    """Parameters, and multiply-adds of convolutions and linear layers for one image of `side` pixels.

    A network of others is built to be counted. Raises InputError when the network cannot take such images.
    """
    if isinstance(spec, External):
        return built_cost(spec, channels, classes, side)
    return spec.cost(channels, classes, side)


@functools.lru_cache(maxsize=256)  # a study asks once a run
def built_cost(spec: Model, channels: int, classes: int, side: int) -> tuple[int, int]:
    """As `cost`, counted on the network as built."""
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
        what = f"cannot take images of {channels}x{side}x{side}: {str(error).splitlines()[0]}"
        raise mistake(spec.slug, what, "images of another size, or another network") from None
    return parameters(model), counter.get_total_flops() // 2


def parameters(model: nn.Module, trainable: bool = False) -> int:
    """Numbers that training may change; with `trainable`, those that it does change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)
