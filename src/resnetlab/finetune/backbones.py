"""Which pre-trained network to begin from: as asked for, or the first that is at hand.

At hand is what lies in the folder RESNETLAB_WEIGHTS (`NAME.toml`, a model as in a study file, or `NAME.safetensors`,
weights of timm's network of that name), then what torchvision has downloaded before.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from resnetlab.bundle.licences import licence_of, refuse_unaccepted
from resnetlab.bundle.spec import Licence
from resnetlab.errors import mistake
from resnetlab.models.spec import External, Model, from_hub, parse_model
from resnetlab.models.tensorfile import describe_weights

VARIABLE = "RESNETLAB_WEIGHTS"
PREFERRED = ("resnet50", "resnet34", "resnet18", "mobilenet_v3_large", "efficientnet_b0")
"""Of torchvision, the first that is at hand; the first of all where there is a network."""


@dataclass(frozen=True)
class Backbone:
    """A network, the file of its weights where they are no part of the spec, and their licence."""

    spec: Model
    weights: Path | None
    licence: Licence
    found: str
    """Where, for a person; empty where it was asked for."""


def choose(model: str, weights: Path | None, licence_accepted: bool) -> Backbone:
    """The backbone that was asked for, or one that is at hand.

    `model` is a name or a TOML file, or empty. Raises InputError when there is none, and for weights whose licence
    forbids commercial use until that is accepted.
    """
    found = _asked(model, weights) if model else _at_hand(weights)
    if not licence_accepted:
        refuse_unaccepted(found.spec, found.licence)
    return found


def _asked(model: str, weights: Path | None) -> Backbone:
    spec = parse_model(model, "--model", "")
    if not model.endswith(".toml") and weights is None:
        spec = from_hub(spec)
    return Backbone(spec, weights, licence_of(spec), "")


def _at_hand(weights: Path | None) -> Backbone:
    if weights is not None:
        return _tensors(weights, None, "")
    folder = os.environ.get(VARIABLE, "")
    if folder:
        place = Path(folder).expanduser()
        named = sorted(place.glob("*.toml")) or sorted(place.glob("*.safetensors"))
        if not named:
            raise mistake(
                f"{VARIABLE}={folder}", "no .toml and no .safetensors in it", "put weights there, or unset it"
            )
        return (_file if named[0].suffix == ".toml" else _tensors)(named[0], weights, f"{VARIABLE}: {named[0].name}")
    name, where = _torchvision()
    spec = External(source=f"torchvision/{name}", weights="hub")
    return Backbone(spec, None, licence_of(spec), where)


def _file(path: Path, weights: Path | None, found: str) -> Backbone:
    spec = parse_model(str(path), str(path))
    return Backbone(spec, weights, licence_of(spec), found)


def _tensors(path: Path, weights: Path | None, found: str) -> Backbone:
    """Weights without a word on their network: timm's of that name, unless they say themselves."""
    held = describe_weights(path).get("model")
    if held is None and not path.stem.isidentifier():
        raise mistake(str(path), "does not say of which network it is", "name it: --model timm/NAME")
    spec = parse_model(held or f"timm/{path.stem}", str(path))
    return Backbone(spec, weights or path, licence_of(spec), found)


def _torchvision() -> tuple[str, str]:
    """The first preferred network whose weights were downloaded before, else the first of all."""
    cache = Path(os.environ.get("TORCH_HOME") or "~/.cache/torch").expanduser() / "hub" / "checkpoints"
    for name in PREFERRED:
        if cache.is_dir() and any(path.name.startswith(f"{name}-") for path in cache.iterdir()):
            return name, f"downloaded before: torchvision/{name}"
    return PREFERRED[0], f"asking the hub for torchvision/{PREFERRED[0]}; --weights or {VARIABLE} give one that is here"
