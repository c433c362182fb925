"""License of pre-trained weights: read from the model config, the weights file or the library."""

from __future__ import annotations

from pathlib import Path

from resnetlab.errors import input_error
from resnetlab.model_folder.model_file import License
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.tensorfile import read_metadata
from resnetlab.models.weight_licenses import published_license, source_license
from resnetlab.settings import weights_dir


def find_license(config: ModelConfig, weights: Path | None = None) -> License:
    """Return the license of pre-trained weights; its name is empty if nothing states one.

    The model config has priority, then the metadata of the file of weights, then the library that
    published the network, which is imported for it.

    Args:
        config: Network of the weights.
        weights: File of the weights, if `config` does not name it.

    Raises:
        InputError: The file of weights is damaged.
    """
    stated = stated_license(config, weights)
    if stated.name:
        return stated
    if isinstance(config, ExternalConfig):
        path = _weights_path(config, weights)
        file_name = path.name if path else ""
        if not (config.weights or weights):
            return stated  # the weights are drawn from a seed
        published = published_license(config.library, config.name, file_name)
    else:
        published = source_license(config.slug)
    return License(name=published.name, applies_to=_weights_title(config), source=published.source)


def stated_license(config: ModelConfig, weights: Path | None = None) -> License:
    """Return the license that the model config or the file of weights states, or an unknown one.

    Imports no library. Raises InputError if the file of weights is damaged.
    """
    if isinstance(config, ExternalConfig) and config.license:
        return License(name=config.license, applies_to=_weights_title(config))
    path = _weights_path(config, weights)
    if path is None or not path.is_file() or path.suffix != ".safetensors":
        return License(applies_to=_weights_title(config))
    name = read_metadata(path).get("license")
    if not isinstance(name, str) or not name:
        return License(applies_to=_weights_title(config))
    return License(name=name, applies_to=_weights_title(config), source=f"stated in {path.name}")


def check_commercial_use(config: ModelConfig, weights_license: License) -> None:
    """Raise InputError for weights whose license forbids commercial use; the user must accept it
    explicitly.
    """
    if weights_license.non_commercial:
        source = f", {weights_license.source}" if weights_license.source else ""
        message = f"the license of its weights forbids commercial use: {weights_license}{source}"
        fix = "--accept-license, if your use is not commercial, or another model"
        raise input_error(config.slug, message, fix)


def unknown_terms(weights_license: License) -> str:
    """Return a sentence about weights whose license or its terms are unknown, else an empty one."""
    if weights_license.commercial_use != "unknown":
        return ""
    source = f" ({weights_license.source})" if weights_license.source else ""
    title = weights_license.applies_to or "the weights"
    if not weights_license.name:
        return f"the license of {title} is unknown{source}: look it up before you publish or sell"
    return (
        f"the license of {title} is {weights_license.name}{source}, whose terms are not known "
        "here: read them before you publish or sell"
    )


def _weights_path(config: ModelConfig, weights: Path | None) -> Path | None:
    """Return the local file of the weights, or None if there is none."""
    if weights is not None or not isinstance(config, ExternalConfig):
        return weights
    if config.weights == "hub":
        path = weights_dir() / config.library / f"{config.name}.safetensors"
        return path if path.is_file() else None
    return Path(config.weights) if config.weights else None


def _weights_title(config: ModelConfig) -> str:
    return f"the pre-trained weights of {config.slug}"
