"""Construction of a network from its config."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from resnetlab.errors import input_error
from resnetlab.models.configs import (
    AlexNetCifarConfig,
    BagOfWordsConfig,
    CifarConfig,
    DenseNetConfig,
    ExternalConfig,
    ImageNetConfig,
    LeNet5Config,
    ModelConfig,
    VGGConfig,
)
from resnetlab.models.external import build_external, build_external_with_weights
from resnetlab.models.nets.cifar import CifarNetwork
from resnetlab.models.nets.classic import (
    AlexNetCifarNetwork,
    LeNet5Network,
    VGGNetwork,
)
from resnetlab.models.nets.dense import DenseNetwork
from resnetlab.models.nets.imagenet import ImageNetNetwork
from resnetlab.models.nets.init import GeneratorFor, init_weights
from resnetlab.models.nets.subsample import replace_unsafe_convs


def build_model(
    config: ModelConfig, channels: int, num_classes: int, generator_for: GeneratorFor
) -> nn.Module:
    """Build the network of `config` on the CPU, in fp32.

    Args:
        config: Model to build.
        channels: Number of channels of the images.
        num_classes: Number of outputs.
        generator_for: Function that returns the generator of a parameter, by its name:
            `lambda name: make_generator(seed, "init", name)`.

    Returns:
        The network: images (B, C, H, W) to logits (B, K).

    Raises:
        InputError: Pre-trained weights of the config are missing or do not fit.
    """
    if isinstance(config, ExternalConfig):
        return build_external_with_weights(config, channels, num_classes, generator_for)
    with torch.device("meta"):  # `init_weights` draws the weights; drawing twice would cost time
        model = build_uninitialized(config, channels, num_classes)
    model = allocate_on_cpu(model)
    # `build_uninitialized` raised InputError for a bag of words, which has no layers.
    assert not isinstance(config, BagOfWordsConfig)
    init_weights(model, config.init, generator_for)
    return model


def allocate_on_cpu(model: nn.Module) -> nn.Module:
    """Move a network from the meta device to the CPU, with uninitialized memory.

    It does the same as `to_empty`, which imports sympy to find the memory layout of a meta tensor.
    """
    model._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cpu"))  # type: ignore[no-untyped-call]
    return model


def build_uninitialized(config: ModelConfig, channels: int, num_classes: int) -> nn.Module:
    """Build the network of `config` with arbitrary weights; on device "meta" it takes no memory."""
    return replace_unsafe_convs(_construct(config, channels, num_classes))


def _construct(config: ModelConfig, channels: int, num_classes: int) -> nn.Module:
    """Return the network of the class that belongs to the class of `config`."""
    match config:
        case CifarConfig():
            return CifarNetwork(config, channels, num_classes)
        case ImageNetConfig():
            return ImageNetNetwork(config, channels, num_classes)
        case LeNet5Config():
            return LeNet5Network(config, channels, num_classes)
        case AlexNetCifarConfig():
            return AlexNetCifarNetwork(config, channels, num_classes)
        case VGGConfig():
            return VGGNetwork(config, channels, num_classes)
        case DenseNetConfig():
            return DenseNetwork(config, channels, num_classes)
        case ExternalConfig():
            return build_external(config, channels, num_classes)
        case BagOfWordsConfig():
            raise input_error(
                config.slug,
                "has no layers: it is no network",
                "name a network of `resnetlab models`",
            )
        case _:
            assert_never(config)
