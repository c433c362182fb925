"""Model folder as one of timm: its `config.json`, if timm has the same network.

With it `timm.create_model("local-dir:FOLDER", pretrained=True)` loads the folder, and on the Hub
`hf-hub:OWNER/NAME`. Free of torch and timm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.model_folder.model_file import ModelFile
from resnetlab.models.configs import ExternalConfig, ModelConfig

TORCHVISION_IN_TIMM = frozenset(
    """
    densenet121 densenet161 densenet169 densenet201 resnet18 resnet34 resnet50 resnet101 resnet152
    resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2
    """.split()  # noqa: SIM905
)
"""Networks of torchvision whose tensors have the same names, shapes and meaning in timm."""

TRAITS = ("first_conv", "classifier", "fixed_input_size", "min_input_size")
"""Fields of a configuration of timm that describe a network rather than its weights."""

_TORCHVISION_TRAITS = {
    "densenet": {"first_conv": "features.conv0", "classifier": "classifier"},
    "": {"first_conv": "conv1", "classifier": "fc"},
}
"""These fields for the networks of torchvision, by the beginning of their names."""


def timm_architecture(model: ModelConfig) -> str:
    """Return timm's name of a network whose tensors timm can load, or "" if there is none."""
    if not isinstance(model, ExternalConfig):
        return ""
    if model.library == "timm":
        return model.name.partition(".")[0]
    plain = not (model.kwargs.keys() - {"num_classes"})
    is_same = model.library == "torchvision" and model.name in TORCHVISION_IN_TIMM and plain
    return model.name if is_same else ""


def make_timm_config(file: ModelFile, traits: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of timm's `config.json` for a model.

    Args:
        file: Description of a model for which `timm_architecture` is not empty.
        traits: Configuration of the network in timm, from which `TRAITS` are taken; it is ignored
            for a network of torchvision.
    """
    model, transform = file.model, file.eval_transform
    assert isinstance(model, ExternalConfig), model
    if model.library == "torchvision":
        prefix = next(name for name in _TORCHVISION_TRAITS if model.name.startswith(name))
        traits = _TORCHVISION_TRAITS[prefix]
    arguments = {key: value for key, value in model.kwargs.items() if key != "num_classes"}
    if transform.channels != 3:
        arguments = {"in_chans": transform.channels} | arguments
    pretrained = {
        **{key: traits[key] for key in TRAITS if traits.get(key) is not None},
        "tag": file.weights_sha256[:8],
        "custom_load": False,
        "input_size": [transform.channels, transform.size, transform.size],
        "interpolation": transform.interpolation,
        "crop_pct": crop_fraction(transform),
        "crop_mode": "center",
        "mean": transform.mean,
        "std": transform.std,
        "num_classes": len(file.classes),
        **({"license": file.license.name} if file.license.name else {}),
    }
    return {
        "architecture": timm_architecture(model),
        "num_classes": len(file.classes),
        "label_names": file.classes,
        **({"model_args": arguments} if arguments else {}),
        "pretrained_cfg": pretrained,
    }


def crop_fraction(transform: EvalTransform) -> float:
    """Return timm's `crop_pct`: the fraction from which it computes the resized shorter side.

    timm resizes the shorter side to floor(size / crop_pct), so that rounding must not lose a pixel.
    """
    if transform.crop_mode != "crop":
        return 1.0
    fraction = transform.size / transform.shorter_side
    while math.floor(transform.size / fraction) < transform.shorter_side:
        fraction = math.nextafter(fraction, 0)
    return fraction


def transform_difference(transform: EvalTransform) -> str:
    """Return a sentence if timm's preprocessing of a photograph differs from the model's, else an
    empty one.
    """
    match transform.crop_mode:
        case "crop":
            return ""
        case "square":
            return "timm resizes before the crop and not in one step, which changes some pixels."
        case "whole":
            return "timm crops the center of a photograph, of which this model takes all."
