"""Licenses of pre-trained weights. Does not import torch."""

from __future__ import annotations

from resnetlab.bundle.spec import License
from resnetlab.errors import input_error
from resnetlab.models.configs import ExternalConfig, ModelConfig

NON_COMMERCIAL_NAMES = ("wsl", "swsl", "ssl_", "resnext101_32x48d")
"""Parts of the names of weights that Facebook published under CC-BY-NC 4.0."""


def find_license(spec: ModelConfig) -> License:
    """Return the license in the model config, or the one that the network's name implies, or an
    unknown one.
    """
    name = spec.name if isinstance(spec, ExternalConfig) else spec.slug
    weights_name = f"the pre-trained weights of {spec.slug}"
    if isinstance(spec, ExternalConfig) and spec.license:
        return License(name=spec.license, applies_to=weights_name)
    if any(word in name for word in NON_COMMERCIAL_NAMES):
        return License(
            name="CC-BY-NC-4.0",
            applies_to=weights_name,
            source="github.com/facebookresearch/WSL-Images",
        )
    return License(applies_to=weights_name)


def check_commercial_use(spec: ModelConfig, weights_license: License) -> None:
    """Raise InputError for weights whose license forbids commercial use; the user must accept it
    explicitly.
    """
    if weights_license.non_commercial:
        message = f"the license of its weights forbids commercial use: {weights_license}"
        fix = "--accept-license, if your use is not commercial, or another model"
        raise input_error(spec.slug, message, fix)
