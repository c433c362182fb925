"""Selection of the pre-trained network: the requested one, or the first that is available on this
machine.

Available are the files in the folder RESNETLAB_WEIGHTS (`NAME.toml`, a model as in a study file, or
`NAME.safetensors`, weights of timm's network of that name), then the weights that torchvision has
downloaded before.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.connection import connection_problem
from resnetlab.errors import input_error
from resnetlab.model_folder.licenses import check_commercial_use, find_license, stated_license
from resnetlab.model_folder.model_file import License
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.parse import parse_model, with_hub_weights
from resnetlab.models.tensorfile import read_metadata
from resnetlab.models.timm_source import is_timm_source, parse_model_source
from resnetlab.settings import is_offline, weights_dir
from resnetlab.training.hardware import has_cuda, has_mps

WEIGHTS_ENV_VAR = "RESNETLAB_WEIGHTS"
GENERIC_STEMS = ("model", "weights", "best", "last", "final", "checkpoint", "pytorch_model")
"""Names of files that say nothing about the network."""
PREFERRED_MODELS = ("resnet50", "resnet34", "resnet18", "mobilenet_v3_large", "efficientnet_b0")
"""Networks of torchvision in order of preference, where there is a GPU.

If none was downloaded before, the first one is downloaded.
"""
PREFERRED_ON_CPU = ("mobilenet_v3_large", "efficientnet_b0", "resnet18", "resnet34", "resnet50")
"""Order without a GPU: by multiply-adds, from 0.2 to 4.1 x 10^9 for an image of 224 pixels."""
DOWNLOAD_URL = "https://download.pytorch.org"
DOWNLOAD_MEGABYTES = {"resnet50": 103, "mobilenet_v3_large": 22}
"""Size of the default weights of the first ones, in 10^6 bytes."""
DEFAULT_WEIGHTS_FILES = {
    "resnet50": "resnet50-11ad3fa6.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "mobilenet_v3_large": "mobilenet_v3_large-5c1a4163.pth",
    "efficientnet_b0": "efficientnet_b0_rwightman-7f5810bc.pth",
}
"""File that torchvision downloads for each network; it also has older weights of the same name."""
MAX_LISTED_MODELS = 5


@dataclass(frozen=True)
class Backbone:
    """Pre-trained network, its weights file if the config does not name it, and their license."""

    config: ModelConfig
    weights_path: Path | None
    license: License
    origin: str
    """Origin of the network in words; empty if the user named it."""


def select_backbone(
    model: str, weights: Path | None, accept_license: bool, device: str = "auto"
) -> Backbone:
    """Select the requested backbone, or an available one if `model` is empty.

    Without a GPU, or with the `device` "cpu", the default is a smaller network.

    `model` is a name, a TOML file or empty. Its license is the one that its config or its file
    states, which needs no import of a library; `with_library_license` adds the rest. Raises
    InputError if there is no such network, and for weights whose license forbids commercial use
    unless the user accepted it.
    """
    backbone = _requested_backbone(model, weights) if model else _find_local(weights, device)
    if not accept_license:
        check_commercial_use(backbone.config, backbone.license)
    return backbone


def with_library_license(backbone: Backbone, accept_license: bool) -> Backbone:
    """Return the backbone with the license that timm or torchvision states for its weights.

    Imports the library. Raises InputError as `select_backbone` does.
    """
    weights_license = find_license(backbone.config, backbone.weights_path)
    if not accept_license:
        check_commercial_use(backbone.config, weights_license)
    return replace(backbone, license=weights_license)


def _requested_backbone(model: str, weights: Path | None) -> Backbone:
    config = parse_model_source(model, "--model", weights=weights is None)
    if weights is not None:
        read_metadata(weights)  # a file of another kind is refused before photographs are decoded
    elif not model.endswith(".toml") and not is_timm_source(model):
        config = with_hub_weights(config)
    return Backbone(config, weights, stated_license(config, weights), "")


def _find_local(weights: Path | None, device: str) -> Backbone:
    if weights is not None:
        return backbone_from_file(weights, "")
    folder = os.environ.get(WEIGHTS_ENV_VAR, "")
    if folder:
        path = Path(folder).expanduser()
        files = sorted(path.glob("*.toml")) or sorted(path.glob("*.safetensors"))
        if not files:
            raise input_error(
                f"{WEIGHTS_ENV_VAR}={folder}",
                "contains no .toml and no .safetensors file",
                "put weights there, or unset the variable",
            )
        return backbone_from_file(files[0], f"{WEIGHTS_ENV_VAR}: {files[0].name}")
    name, origin = _preferred_torchvision_model(device)
    config = ExternalConfig(source=f"torchvision/{name}", weights="hub")
    return Backbone(config, None, stated_license(config), origin)


def backbone_from_file(path: Path, origin: str) -> Backbone:
    """Return the backbone of a TOML file or of a weights file.

    The network of a weights file is the one in its metadata, or timm's network of the file's name.
    Raises InputError if the file does not name its network.
    """
    if path.suffix == ".toml":
        config = parse_model(str(path), str(path))
        return Backbone(config, None, stated_license(config), origin)
    model = read_metadata(path).get("model")
    if model is None and (not path.stem.isidentifier() or path.stem in GENERIC_STEMS):
        raise input_error(str(path), "does not name its network", "name it: --model timm/NAME")
    config = parse_model(model or f"timm/{path.stem}", str(path))
    return Backbone(config, path, stated_license(config, path), origin)


def downloaded_models() -> list[str]:
    """Return the preferred networks whose weights torchvision has downloaded before."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser()
    files = home / "hub" / "checkpoints"
    return [name for name in PREFERRED_MODELS if (files / DEFAULT_WEIGHTS_FILES[name]).is_file()]


def _preferred_torchvision_model(device: str) -> tuple[str, str]:
    """Return the first preferred network whose weights are on this machine, or the first of all."""
    has_gpu = device not in ("auto", "cpu") or (device == "auto" and (has_cuda() or has_mps()))
    preferred, downloaded = PREFERRED_MODELS if has_gpu else PREFERRED_ON_CPU, downloaded_models()
    for name in preferred:
        if name in downloaded:
            return name, f"downloaded before: torchvision/{name}"
    name = preferred[0]
    placed = weights_dir() / "torchvision" / f"{name}.safetensors"
    if placed.is_file():
        return name, str(placed)
    _check_download(name, placed)
    size = "" if has_gpu else ", a small one for a processor without a GPU"
    return name, (
        f"downloading torchvision/{name}{size}, about {DOWNLOAD_MEGABYTES[name]} MB; --weights or "
        f"{WEIGHTS_ENV_VAR} name a local file instead"
    )


def _check_download(name: str, placed: Path) -> None:
    """Raise InputError if the default network cannot be downloaded; the fix names what can be done.

    This is checked before photographs are decoded and torch is imported.
    """
    if is_offline():
        reason = "downloads are switched off (RESNETLAB_OFFLINE, or offline in config.toml)"
    elif problem := connection_problem(DOWNLOAD_URL):
        reason = f"it cannot be downloaded: {problem}"
    else:
        return
    fixes = [
        "--model timm/NAME --weights FILE.safetensors names a network of this machine",
        f"resnetlab import-weights FILE.pth --as torchvision/{name} --out DIR converts a .pth file",
        f"or place {placed.name} in {placed.parent}",
    ]
    if cached := cached_timm_models():
        listed = ", ".join(f"--model {model}" for model in cached[:MAX_LISTED_MODELS])
        fixes.insert(0, f"timm has downloaded before: {listed}")
    message = (
        f"the default network torchvision/{name} ({DOWNLOAD_MEGABYTES[name]} MB) is not on this "
        f"machine, and {reason}"
    )
    raise input_error("--model", message, "; ".join(fixes))


def cached_timm_models() -> list[str]:
    """Return the networks whose weights timm has in the cache of the Hugging Face hub."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return sorted(
        path.name.replace("models--timm--", "timm/", 1)
        for path in cache.glob("models--timm--*")
        if any(path.glob("snapshots/*/*"))
    )
