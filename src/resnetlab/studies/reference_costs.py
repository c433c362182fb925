"""Costs of a study's networks beside published numbers, without any run and without data. Free of
torch.

Some tables cannot be measured here, such as those of ImageNet. For them this is all that there is:
their numbers are
*published only*.
"""

from __future__ import annotations

from typing import Any

from resnetlab.models.configs import (
    ExternalConfig,
    ImageNetConfig,
    LeNet5Config,
    ModelConfig,
    VGGConfig,
)
from resnetlab.studies.plan import CostFunction
from resnetlab.studies.references import ReferenceValue
from resnetlab.studies.study import Study


def cost_rows(study: Study, cost: CostFunction) -> list[dict[str, Any]]:
    """Return a row for each published number, with the parameters and multiply-adds of its
    condition.

    A condition without a published number also gets a row. `cost` counts a network for the images
    and classes that the network was made for, for example 3x224x224 and 1,000 classes for
    photographs.
    """
    table = []
    for condition in study.conditions:
        parameters, macs = cost(condition.model, *_standard_input(condition.model))
        row = {"condition": condition.label, "parameters": parameters, "macs": macs}
        references = [pair for pair in study.references if pair.condition == condition.label]
        table += [
            row | {"reference": format_value(p.value), "label": p.value.label, "source": p.title}
            for p in references
        ]
        table += [] if references else [row | {"reference": None, "label": None, "source": None}]
    return table


def format_value(value: ReferenceValue) -> str:
    """Return a value as text: `27.94 % error`, `3.6 x 10^9 multiply-adds`, or the reason that there
    is no number.
    """
    if value.value is None:
        return value.status
    unit = {"loss": " nats", "multiply-adds": " x 10^9"}.get(value.quantity, " %")
    return f"{value.value:.{value.decimals}f}{unit} {value.quantity}"


def _standard_input(model: ModelConfig) -> tuple[int, int, int]:
    """Return the channels, classes and side of the images that a network was made for."""
    match model:
        case ImageNetConfig() | VGGConfig() | ExternalConfig():
            return 3, 1000, 224
        case LeNet5Config():
            return 1, 10, 28
        case _:
            return 3, 10, 32
