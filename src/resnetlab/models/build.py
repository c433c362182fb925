"""Construction of a network from its config."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from resnetlab.errors import mistake
from resnetlab.models.configs import (
    VGG,
    AlexNetCifar,
    BagOfWords,
    CifarNet,
    DenseNet,
    External,
    ImageNetResNet,
    LeNet5,
    Model,
)
from resnetlab.models.external import construct, load_external
from resnetlab.models.nets.cifar import CifarNetwork
from resnetlab.models.nets.classic import (
    AlexNetCifarNetwork,
    DenseNetwork,
    LeNet5Network,
    VGGNetwork,
)
from resnetlab.models.nets.imagenet import ImageNetNetwork
from resnetlab.models.nets.init import Draw, initialise
from resnetlab.models.nets.subsample import make_safe


def build_model(spec: Model, channels: int, classes: int, draw: Draw) -> nn.Module:
    """Build the network of `spec` for images of `channels` and `classes` outputs, on the CPU, in
    fp32.

    `draw` returns a generator for each parameter name: `lambda name: stream(seed, "init", name)`.
    """
    if isinstance(spec, External):
        return load_external(spec, channels, classes, draw)
    with torch.device("meta"):  # `initialise` draws the weights; drawing them twice would cost time
        model = skeleton(spec, channels, classes)
    assert not isinstance(spec, BagOfWords)  # it has no layers, so `skeleton` refuses it
    model = allocated(model)
    initialise(model, spec.init, draw)
    return model


def allocated(model: nn.Module) -> nn.Module:
    """Move a network from the meta device to the CPU, with uninitialized memory.

    It does the same as `to_empty`, which imports sympy to find the memory layout of a meta tensor.
    """
    model._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cpu"))  # type: ignore[no-untyped-call]
    return model


def skeleton(spec: Model, channels: int, classes: int) -> nn.Module:
    """Build the network of `spec` with arbitrary weights; inside `with torch.device("meta")` it
    takes no memory.
    """
    return make_safe(_construct(spec, channels, classes))


def _construct(spec: Model, channels: int, classes: int) -> nn.Module:
    match spec:
        case CifarNet():
            return CifarNetwork(spec, channels, classes)
        case ImageNetResNet():
            return ImageNetNetwork(spec, channels, classes)
        case LeNet5():
            return LeNet5Network(spec, channels, classes)
        case AlexNetCifar():
            return AlexNetCifarNetwork(spec, channels, classes)
        case VGG():
            return VGGNetwork(spec, channels, classes)
        case DenseNet():
            return DenseNetwork(spec, channels, classes)
        case External():
            return construct(spec, channels, classes)
        case BagOfWords():
            raise mistake(
                spec.slug, "has no layers: it is no network", "name a network of `resnetlab models`"
            )
        case _:
            assert_never(spec)
