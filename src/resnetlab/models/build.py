"""From a spec to a network."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from resnetlab.errors import mistake
from resnetlab.models.cifar import CifarNetwork
from resnetlab.models.classic import AlexNetCifarNetwork, DenseNetwork, LeNet5Network, VGGNetwork
from resnetlab.models.imagenet import ImageNetNetwork
from resnetlab.models.initialise import Draw, initialise
from resnetlab.models.pretrained import construct, load_external
from resnetlab.models.spec import (
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
from resnetlab.models.subsample import make_safe


def build_model(spec: Model, channels: int, classes: int, draw: Draw) -> nn.Module:
    """The network of `spec` for images of `channels` and `classes` outputs, on the processor, in fp32.

    `draw` gives each parameter its own generator: `lambda name: stream(seed, "init", name)`.
    """
    if isinstance(spec, External):
        return load_external(spec, channels, classes, draw)
    with torch.device("meta"):  # no weights are drawn that `initialise` would draw again
        model = skeleton(spec, channels, classes)
    assert not isinstance(spec, BagOfWords)  # which has no skeleton
    model = allocated(model)
    initialise(model, spec.init, draw)
    return model


def allocated(model: nn.Module) -> nn.Module:
    """A network from the meta device on the processor, its numbers not yet set.

    As `to_empty`, which imports sympy to ask how a tensor of the meta device lies in memory.
    """
    model._apply(lambda held: torch.empty(held.shape, dtype=held.dtype, device="cpu"))  # type: ignore[no-untyped-call]
    return model


def skeleton(spec: Model, channels: int, classes: int) -> nn.Module:
    """The network of `spec` with whatever weights; `with torch.device("meta")` it takes no memory."""
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
            raise mistake(spec.slug, "has no layers: it is no network", "name a network of `resnetlab models`")
        case _:
            assert_never(spec)
