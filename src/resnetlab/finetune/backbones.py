"""Selection of the pre-trained network: the requested one, or the first that is available on this
machine.

Available are the files in the folder RESNETLAB_WEIGHTS (`NAME.toml`, a model as in a study file, or
`NAME.safetensors`, weights of timm's network of that name), then the weights that torchvision has
downloaded before.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from resnetlab.bundle.licences import licence_of, refuse_unaccepted
from resnetlab.bundle.spec import Licence
from resnetlab.errors import mistake
from resnetlab.models.configs import External, Model
from resnetlab.models.parse import from_hub, parse_model
from resnetlab.models.tensorfile import describe_weights

VARIABLE = "RESNETLAB_WEIGHTS"
PREFERRED = ("resnet50", "resnet34", "resnet18", "mobilenet_v3_large", "efficientnet_b0")
"""Networks of torchvision in order of preference.

If none was downloaded before, the first one is downloaded.
"""


@dataclass(frozen=True)
class Backbone:
    """Pre-trained network, its weights file if the spec does not name it, and their license."""

    spec: Model
    weights: Path | None
    licence: Licence
    found: str
    """Origin of the network in words; empty if the user named it."""


def choose(model: str, weights: Path | None, licence_accepted: bool) -> Backbone:
    """Select the requested backbone, or an available one if `model` is empty.

    `model` is a name, a TOML file or empty. Raises InputError if there is no such network, and for
    weights whose license forbids commercial use unless the user accepted it.
    """
    backbone = _requested(model, weights) if model else _find_local(weights)
    if not licence_accepted:
        refuse_unaccepted(backbone.spec, backbone.licence)
    return backbone


def _requested(model: str, weights: Path | None) -> Backbone:
    spec = parse_model(model, "--model", "")
    if not model.endswith(".toml") and weights is None:
        spec = from_hub(spec)
    return Backbone(spec, weights, licence_of(spec), "")


def _find_local(weights: Path | None) -> Backbone:
    if weights is not None:
        return _tensors(weights, None, "")
    folder = os.environ.get(VARIABLE, "")
    if folder:
        directory = Path(folder).expanduser()
        files = sorted(directory.glob("*.toml")) or sorted(directory.glob("*.safetensors"))
        if not files:
            raise mistake(
                f"{VARIABLE}={folder}",
                "no .toml and no .safetensors in it",
                "put weights there, or unset it",
            )
        return (_file if files[0].suffix == ".toml" else _tensors)(
            files[0], weights, f"{VARIABLE}: {files[0].name}"
        )
    name, origin = _torchvision()
    spec = External(source=f"torchvision/{name}", weights="hub")
    return Backbone(spec, None, licence_of(spec), origin)


def _file(path: Path, weights: Path | None, origin: str) -> Backbone:
    spec = parse_model(str(path), str(path))
    return Backbone(spec, weights, licence_of(spec), origin)


def _tensors(path: Path, weights: Path | None, origin: str) -> Backbone:
    """Return the backbone of a weights file: the network in its metadata, or timm's network of the
    file's name.
    """
    model = describe_weights(path).get("model")
    if model is None and not path.stem.isidentifier():
        raise mistake(
            str(path), "does not say of which network it is", "name it: --model timm/NAME"
        )
    spec = parse_model(model or f"timm/{path.stem}", str(path))
    return Backbone(spec, weights or path, licence_of(spec), origin)


def _torchvision() -> tuple[str, str]:
    """Return the first preferred network whose weights are in the cache, or the first of all."""
    cache = (
        Path(os.environ.get("TORCH_HOME") or "~/.cache/torch").expanduser() / "hub" / "checkpoints"
    )
    for name in PREFERRED:
        if cache.is_dir() and any(path.name.startswith(f"{name}-") for path in cache.iterdir()):
            return name, f"downloaded before: torchvision/{name}"
    return (
        PREFERRED[0],
        (
            f"asking the hub for torchvision/{PREFERRED[0]}; --weights or {VARIABLE} give one "
            "that is "
            "here"
        ),
    )
