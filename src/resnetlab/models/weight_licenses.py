"""Licenses of pre-trained weights, as timm and torchvision state them.

A library is imported only if one of its networks is asked about. Imports no torch by itself.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

CommercialUse = Literal["allowed", "forbidden", "unknown"]
"""Answer of a license to the question of commercial use; unknown: somebody has to read it."""

_FORBIDDEN = re.compile(
    r"(?<![a-z])(nc|non-?commercial|no-commercial(-use)?$|not-for-commercial|amlr|seer"
    r"|(research|academic)(-use|-purposes)?-only|(research|academic)-license)(?![a-z])"
)
"""Words of a license's name that forbid commercial use: cc-by-nc-4.0, fair-nc, apple-amlr, ..."""

_SPDX_NAMES = {
    "mit-license": "mit",
    "the-mit-license": "mit",
    "the-mit-license-mit": "mit",
    "apache-license-2.0": "apache-2.0",
    "apache-license-version-2.0": "apache-2.0",
    "apache-2": "apache-2.0",
    "bsd-license": "bsd",
    "bsd-2-clause-license": "bsd-2-clause",
    "bsd-3-clause-license": "bsd-3-clause",
    "isc-license": "isc",
}
"""SPDX identifiers by the names that people write for them."""

_ALLOWED = re.compile(
    r"apache(-2\.0)?|mit(-0)?|(0)?bsd(-[0-4]-clause(-clear)?)?|isc|zlib|unlicense|cc0(-1\.0)?"
    r"|cc-by(-sa)?(-[0-9.]+)?|([al]?gpl|mpl|epl|lgpl)-[0-9.]+(-only|-or-later)?"
)
"""SPDX identifiers of licenses that allow commercial use, under their conditions."""

_SINGLE_SOURCE = {"resnext101_32x48d": "github.com/facebookresearch/WSL-Images"}
"""Networks of other origin whose weights have a single source, which is CC-BY-NC-4.0."""

_RESTRICTED_WORDS = ("wsl", "swsl", "ssl_")
"""Parts of the names of weights that Facebook published under CC-BY-NC-4.0."""

_SWAG = "SWAG"


@dataclass(frozen=True)
class StatedLicense:
    """License as a source states it; an empty name is an unknown license."""

    name: str = ""
    source: str = ""


def commercial_use(name: str) -> CommercialUse:
    """Return the answer of a license to the question of commercial use, by its name."""
    words = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
    if _FORBIDDEN.search(words):
        return "forbidden"
    return "allowed" if _ALLOWED.fullmatch(_SPDX_NAMES.get(words, words)) else "unknown"


def timm_license(name: str) -> StatedLicense:
    """Return the license in timm's pre-trained configuration `name`, with or without a tag.

    Reads no network. A name that timm renamed is looked up under its present name.
    """
    timm = _library("timm")
    if timm is None:
        return StatedLicense(source="timm, which would state it, is not installed")
    config = find_timm_config(timm, timm.models.get_deprecated_models().get(name) or name)
    if config is None or not config.has_weights:
        return StatedLicense(source=f"timm {version('timm')} has no weights of that name")
    tagged = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    source = f"timm {version('timm')}, configuration {tagged}"
    stated = (config.license or "").strip()
    if stated.lower() in ("", "unknown", "other"):
        return StatedLicense(source=f"{source}, which states none")
    return StatedLicense(stated, source)


def find_timm_config(timm: Any, name: str) -> Any:
    """Return timm's pre-trained configuration of a name with or without a tag, or None.

    Args:
        timm: The module.
        name: Name of a network, with or without a tag.
    """
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError:  # the network has no weights with that tag
        return None


def torchvision_license(name: str, file_name: str = "") -> StatedLicense:
    """Return the license of torchvision's weights for the network `name`.

    torchvision's README names one: "SWAG models are released under the CC-BY-NC 4.0 license". Of
    all others it says that they "may have their own licenses or terms and conditions derived from
    the dataset used for training".

    Args:
        name: Network of torchvision.
        file_name: Name of a file of weights; empty for those that torchvision downloads.
    """
    models = _library("torchvision.models")
    if models is None:
        return StatedLicense(source="torchvision, which would state it, is not installed")
    try:
        versions = models.get_model_weights(name)
    except ValueError:
        return StatedLicense(source=f"torchvision {version('torchvision')} has no such network")
    if not file_name:
        return _torchvision_statement(versions.DEFAULT)
    stem = Path(file_name).stem
    for published in versions:
        if Path(str(published.url)).stem == stem:
            return _torchvision_statement(published)
    return StatedLicense(source=f"{file_name} is no file of torchvision by its name")


def source_license(name: str) -> StatedLicense:
    """Return the license of a network that no library names, if its name has a single source."""
    if name in _SINGLE_SOURCE:
        return StatedLicense("CC-BY-NC-4.0", _SINGLE_SOURCE[name])
    if any(word in name for word in _RESTRICTED_WORDS):
        source = "the name is that of weights at github.com/facebookresearch"
        return StatedLicense("CC-BY-NC-4.0", source)
    return StatedLicense()


def published_license(library: str, name: str, file_name: str = "") -> StatedLicense:
    """Return the license of the weights that a library publishes for a network.

    A file is one of the library's if its name says so: `NAME.safetensors`, for timm also
    `NAME.TAG.safetensors`, or the name that torchvision gave it. Of any other file only a
    restriction is taken over, since it may be a copy.

    Args:
        library: `timm`, `torchvision`, or "" for another origin.
        name: Name of the network in its library, or of the function.
        file_name: Name of a local file of weights; empty for those that the library downloads.
    """
    if library == "timm":
        architecture, stem = name.partition(".")[0], _stem(file_name)
        if not file_name or stem == name:
            return _timm_or_source(name)
        if stem.partition(".")[0] == architecture:
            return _timm_or_source(stem)
        return _only_restriction(_timm_or_source(name), file_name)
    if library == "torchvision":
        return torchvision_license(name, "" if _stem(file_name) == name else file_name)
    return source_license(name)


def _timm_or_source(name: str) -> StatedLicense:
    stated = timm_license(name)
    return stated if stated.name else StatedLicense(source_license(name).name, stated.source)


def _only_restriction(stated: StatedLicense, file_name: str) -> StatedLicense:
    if commercial_use(stated.name) == "forbidden":
        return StatedLicense(stated.name, f"{stated.source}, if {file_name} is a copy of it")
    return StatedLicense(source=f"{file_name} states none")


def _stem(file_name: str) -> str:
    for suffix in (".safetensors", ".pth", ".pt", ".bin", ".ckpt"):
        file_name = file_name.removesuffix(suffix)
    return file_name


def _torchvision_statement(published: Any) -> StatedLicense:
    stated = str(published.meta.get("license", ""))
    source = f"torchvision {version('torchvision')}, weights {published}"
    if _SWAG in stated:
        return StatedLicense("CC-BY-NC-4.0", f"{source}: {stated}")
    if stated:
        return StatedLicense(stated, source)
    return StatedLicense(
        source=f"{source}, which state none and may have terms derived from their training data"
    )


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
