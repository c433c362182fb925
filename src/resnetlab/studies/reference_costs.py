"""What a study's networks cost and what is published of them: told before anything is run, without data. Free of torch.

For tables that cannot be measured here, such as those of ImageNet, this is all there is: their numbers stand as
*published only*.
"""

from __future__ import annotations

from typing import Any

from resnetlab.models.configs import VGG, External, ImageNetResNet, LeNet5, Model
from resnetlab.studies.plan import Cost
from resnetlab.studies.references import Value
from resnetlab.studies.study import Study


def rows(study: Study, cost: Cost) -> list[dict[str, Any]]:
    """A row a published number, and one for each condition that has none: parameters and multiply-adds beside it.

    `cost` counts a network; it is asked for the images and classes for which the network was made: 3x224x224 and 1,000
    of those for photographs.
    """
    found = []
    for condition in study.conditions:
        parameters, macs = cost(condition.model, *_made_for(condition.model))
        told = {"condition": condition.label, "parameters": parameters, "macs": macs}
        held = [pair for pair in study.published if pair.condition == condition.label]
        found += [told | {"published": said(p.value), "of": p.value.label, "source": p.title} for p in held]
        found += [] if held else [told | {"published": None, "of": None, "source": None}]
    return found


def said(value: Value) -> str:
    """`27.94 % error`, `3.6 x 10^9 multiply-adds`, or why there is no number."""
    if value.value is None:
        return value.status
    unit = {"loss": " nats", "multiply-adds": " x 10^9"}.get(value.quantity, " %")
    return f"{value.value:.{value.decimals}f}{unit} {value.quantity}"


def _made_for(model: Model) -> tuple[int, int, int]:
    """Channels, classes and side."""
    match model:
        case ImageNetResNet() | VGG() | External():
            return 3, 1000, 224
        case LeNet5():
            return 1, 10, 28
        case _:
            return 3, 10, 32
