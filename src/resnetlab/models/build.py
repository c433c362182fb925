"""From a spec to a network."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from resnetlab.models.cifar import CifarNetwork
from resnetlab.models.initialise import Draw, initialise
from resnetlab.models.spec import CifarNet, Model


def build_model(spec: Model, channels: int, classes: int, draw: Draw) -> nn.Module:
    """The network of `spec` for images of `channels` and `classes` outputs, on the processor, in fp32.

    `draw` gives each parameter its own generator: `lambda name: stream(seed, "init", name)`.
    """
    match spec:
        case CifarNet():
            with torch.device("meta"):  # no weights are drawn that `initialise` would draw again
                model = CifarNetwork(spec, channels, classes)
            model = model.to_empty(device="cpu")
            initialise(model, spec.init, draw)
            return model
        case _:
            assert_never(spec)
