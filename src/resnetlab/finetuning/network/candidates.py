"""Pre-trained networks to try: the named ones, and those whose weights are on this machine.

Free of torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnetlab.errors import InputError, Problem, input_error
from resnetlab.finetuning.network.backbones import (
    PREFERRED_MODELS,
    WEIGHTS_ENV_VAR,
    Backbone,
    backbone_from_file,
    cached_timm_models,
    downloaded_models,
    select_backbone,
)
from resnetlab.model_folder.licenses import check_commercial_use, stated_license
from resnetlab.models.configs import ExternalConfig
from resnetlab.schema import read_toml
from resnetlab.settings import weights_dir

LOCAL = "local"
"""Name for all pre-trained networks of this machine."""


@dataclass(frozen=True)
class LeftOut:
    """Network that is not tried, with the reason."""

    model: str
    reason: str
    origin: str = ""


@dataclass(frozen=True)
class Candidates:
    """Networks to try, in order, and those that cannot be tried."""

    backbones: tuple[Backbone, ...]
    left_out: tuple[LeftOut, ...] = ()

    def title(self, backbone: Backbone) -> str:
        """Return the name of a network, with its weights file if another one has the same name."""
        slug, weights = backbone.config.slug, backbone.weights_path
        same = sum(other.config.slug == slug for other in self.backbones)
        if weights is None and isinstance(backbone.config, ExternalConfig):
            weights = Path(backbone.config.weights)
        return f"{slug} ({weights.name})" if same > 1 and weights is not None else slug


def select_candidates(
    model: str,
    weights: Path | None,
    tries: Sequence[str],
    accept_license: bool,
    device: str = "auto",
) -> Candidates:
    """Return the networks to try: `model` or `weights` first, then those of `tries`.

    Args:
        model: Network of `--model`, or "".
        weights: Weights of `--weights`, or None.
        tries: Names of networks, files (`.toml`, `.safetensors`), or `local`. With any of them,
            empty `model` and `weights` name no network.
        accept_license: True to accept weights whose license forbids commercial use.
        device: Device of the training, which decides about the default network.

    Raises:
        InputError: A named network does not exist or has such weights. All of them are listed.
            Networks on this machine are left out instead, with the reason.
    """
    if not tries:
        return Candidates((select_backbone(model, weights, accept_license, device),))
    backbones, left_out, problems = list[Backbone](), list[LeftOut](), list[Problem]()
    if model or weights:
        backbones.append(select_backbone(model, weights, accept_license))
    for name in tries:
        if name == LOCAL:
            local = _local_candidates(accept_license)
            backbones += local.backbones
            left_out += local.left_out
            continue
        try:
            backbones.append(_named(name, accept_license))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    unique = list[Backbone]()
    for backbone in backbones:
        if all(
            (other.config, other.weights_path) != (backbone.config, backbone.weights_path)
            for other in unique
        ):
            unique.append(backbone)
    return Candidates(tuple(unique), tuple(left_out))


def _named(name: str, accept_license: bool) -> Backbone:
    if not name.endswith(".safetensors"):
        return select_backbone(name, None, accept_license)
    backbone = backbone_from_file(Path(name), "")
    if not accept_license:
        check_commercial_use(backbone.config, backbone.license)
    return backbone


def _local_candidates(accept_license: bool) -> Candidates:
    """Return the networks whose weights are on this machine. Raises InputError if there is none."""
    backbones, left_out = list[Backbone](), list[LeftOut]()
    for name, origin in _local_names():
        try:
            if name.endswith((".toml", ".safetensors")):
                backbone = backbone_from_file(Path(name), origin)
            else:
                config = ExternalConfig(source=name, weights="hub")
                backbone = Backbone(config, None, stated_license(config), origin)
            if not accept_license:
                check_commercial_use(backbone.config, backbone.license)
            backbones.append(backbone)
        except InputError as error:
            left_out.append(LeftOut(name, str(error.problems[0]), origin))
    if not backbones:
        reasons = "; ".join(f"{item.model}: {item.reason}" for item in left_out)
        message = "no pre-trained network is on this machine"
        fix = f"put files into a folder and name it in {WEIGHTS_ENV_VAR}, or --try timm/NAME"
        raise input_error("--try local", f"{message}{f' ({reasons})' if reasons else ''}", fix)
    return Candidates(tuple(backbones), tuple(left_out))


def _local_names() -> list[tuple[str, str]]:
    """Return the files and names of the networks on this machine, each with its origin."""
    names: list[tuple[str, str]] = []
    if folder := os.environ.get(WEIGHTS_ENV_VAR, ""):
        files = _files_of(Path(folder).expanduser())
        names += [(str(path), f"{WEIGHTS_ENV_VAR}: {path.name}") for path in files]
    for library in ("torchvision", "timm"):
        placed = sorted((weights_dir() / library).glob("*.safetensors"))
        names += [(f"{library}/{path.stem}", str(path)) for path in placed]
    downloaded = [f"torchvision/{name}" for name in downloaded_models() if name in PREFERRED_MODELS]
    names += [(name, f"downloaded before: {name}") for name in downloaded]
    names += [(name, f"downloaded before: {name}") for name in cached_timm_models()]
    return list(dict(reversed(names)).items())[::-1]


def _files_of(folder: Path) -> list[Path]:
    """Return the TOML files of a folder, and the weights that none of them names."""
    tables = sorted(folder.glob("*.toml"))
    named = {path.with_suffix(".safetensors").name for path in tables}
    for path in tables:
        try:
            named.add(Path(str(read_toml(path).get("weights", ""))).name)
        except InputError:
            continue  # reading it again as a network gives the reason
    others = [path for path in sorted(folder.glob("*.safetensors")) if path.name not in named]
    return [*tables, *others]
