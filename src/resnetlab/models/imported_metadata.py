"""Metadata of imported weights: evaluation transform, class names and license.

They come from the options, else from the file, else from the repository or library of the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.data.class_names import unnamed_classes
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.errors import input_error
from resnetlab.models.configs import CifarConfig, ExternalConfig, ImageNetConfig, VGGConfig
from resnetlab.models.library_transform import LibraryTransform
from resnetlab.models.tensorfile import read_metadata
from resnetlab.models.weight_licenses import published_license, source_license, torchvision_license
from resnetlab.models.weight_sources import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    find_source,
    known_class_names,
)
from resnetlab.models.weights import WeightsMetadata

ImportedConfig = CifarConfig | ImageNetConfig | VGGConfig | ExternalConfig


@dataclass(frozen=True)
class ImportOptions:
    """Metadata of the weights that their file does not state. An empty field is not given."""

    license: str = ""
    repository: str = ""
    """Owner and name of a repository whose preprocessing and classes are known."""
    mean: tuple[float, ...] = ()
    """Mean per channel, of pixels from 0 to 1."""
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    """Class names in the order of the outputs."""
    resize: int = 0
    """Shorter side in pixels before the crop."""
    key: str = ""
    """Key of the weights in the file."""


@dataclass(frozen=True)
class ImportedMetadata:
    """Metadata of imported weights, with a line for each part of them that is assumed."""

    transform: EvalTransform
    class_names: tuple[str, ...]
    license: str
    """License of the weights; empty if it is unknown."""
    license_note: str
    """Line about a license that a library publishes, or that is unknown; else empty."""
    notes: tuple[str, ...]


def find_metadata(
    config: ImportedConfig,
    options: ImportOptions,
    stated: WeightsMetadata,
    known: LibraryTransform | None,
    channels: int,
    outputs: int,
    file: Path,
) -> ImportedMetadata:
    """Return the metadata of imported weights.

    Args:
        config: Network of the weights.
        options: Metadata that the user gives.
        stated: Metadata that the file states.
        known: Evaluation transform of the library that published the weights.
        channels: Number of channels of the images.
        outputs: Number of outputs of the network.
        file: File of the weights.

    Raises:
        InputError: An option does not fit the network.
    """
    transform, transform_notes = _transform(config, options, stated, known, channels, outputs)
    class_names, class_notes = _class_names(config, options, stated, outputs)
    license_name, license_note = _license(config, options, file)
    notes = (*_same_tensors(config, options), *transform_notes, *class_notes)
    if license_name and license_note:
        notes = (*notes, license_note)
    return ImportedMetadata(transform, class_names, license_name, license_note, notes)


def _license(config: ImportedConfig, options: ImportOptions, file: Path) -> tuple[str, str]:
    """Return the license of the weights, and a line if it is from a library or unknown."""
    if options.license:
        return options.license, ""
    metadata = read_metadata(file) if file.suffix == ".safetensors" else {}
    if isinstance(metadata.get("license"), str) and metadata["license"]:
        return metadata["license"], ""
    if isinstance(config, ExternalConfig):
        published = published_license(config.library, config.name, file.name)
    else:
        published = source_license(config.slug)
        if not published.name and isinstance(config, ImageNetConfig | VGGConfig):
            published = torchvision_license(config.slug, file.name)
    source = f" ({published.source})" if published.source else ""
    if not published.name:
        return "", f"the license of the weights is unknown{source}; --license names it"
    note = f"the license of the weights is {published.name}{source}; --license names another one"
    return published.name, note


def _same_tensors(config: ImportedConfig, options: ImportOptions) -> tuple[str, ...]:
    """Return a remark if other networks have the same tensors, so that the file cannot tell."""
    if not isinstance(config, CifarConfig) or config.shortcut not in ("none", "A"):
        return ()
    if config.shortcut == "none":
        message = (
            f"{config.slug} has no shortcuts, but a residual network with option A has the same"
        )
        return (f"{message} tensors: if these are a residual network's, --as names that one",)
    if options.repository and find_source(options.repository).zero_channels == config.zero_channels:
        return ()
    where = "at both ends" if config.zero_channels == "both ends" else "at the end"
    other = "-a-end" if config.zero_channels == "both ends" else ""
    classic = f"cifar-resnet{config.depth}{other}"
    return (
        (
            f"shortcut option A is assumed with its zero channels {where}; the same tensors fit "
            f"{classic}, with them {'at the end' if other else 'at both ends'}, and a plain network"
        ),
    )


def _transform(
    config: ImportedConfig,
    options: ImportOptions,
    stated: WeightsMetadata,
    known: LibraryTransform | None,
    channels: int,
    outputs: int,
) -> tuple[EvalTransform, tuple[str, ...]]:
    """Return the evaluation transform, and a line for each part of it that is assumed."""
    notes: list[str] = []
    source = find_source(options.repository, outputs) if options.repository else None
    if known and known.note:
        notes.append(known.note)
    if bool(options.mean) != bool(options.std):
        raise input_error("--mean, --std", "one without the other", "give both")
    if options.mean:
        mean, std = options.mean, options.std
    elif stated.mean and stated.std:
        mean, std = stated.mean, stated.std
    elif source:
        mean, std = source.mean, source.std
    elif known:
        mean, std = known.mean, known.std
    else:
        mean, std = IMAGENET_MEAN[:channels], IMAGENET_STD[:channels]
        notes.append(
            "the file does not state its mean and std: those of ImageNet are assumed "
            "(--mean and --std, or --repository, give them)"
        )
    for option, numbers in (("--mean", mean), ("--std", std)):
        if len(numbers) != channels:
            message = f"{len(numbers)} values for the network's {channels} channels"
            raise input_error(option, message, "give one value per channel")
    values: dict[str, Any] = {"mean": mean, "std": std, "channels": channels}
    if isinstance(config, CifarConfig) and not options.resize:
        return EvalTransform(crop_mode="square", size=stated.side or 32, **values), tuple(notes)
    default_size = known.size if known else 224
    size = stated.side or (32 if isinstance(config, CifarConfig) else default_size)
    resize = options.resize or (known.resize if known else math.floor(256 / 224 * size))
    if options.resize and options.resize < size:
        message = f"smaller than the crop of {size} pixels"
        raise input_error("--resize", message, f"--resize {size}", got=options.resize)
    if known is None and not options.resize:
        notes.append(
            f"the shorter side is assumed to be resized to {resize} pixels before the crop of "
            f"{size} (--resize gives it)"
        )
    kind = known.interpolation if known else "bilinear"
    return EvalTransform(size=size, resize=resize, interpolation=kind, **values), tuple(notes)


def _class_names(
    config: ImportedConfig, options: ImportOptions, stated: WeightsMetadata, outputs: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the outputs, and a line if they are assumed."""
    if options.classes:
        if len(options.classes) != outputs:
            message = f"{len(options.classes)} names for {outputs} outputs"
            raise input_error("--classes", message, "give one name per output, in their order")
        return options.classes, ()
    if len(stated.class_names) == outputs:
        return stated.class_names, ()
    source = find_source(options.repository, outputs) if options.repository else None
    if source and outputs in source.classes:
        return known_class_names(source.classes[outputs]), ()
    if outputs == 1000 and not isinstance(config, CifarConfig):
        note = "the 1,000 outputs are assumed to be ImageNet's classes in torchvision's order"
        return known_class_names("imagenet"), (f"{note} (--classes names them)",)
    note = f"the {outputs} outputs have no names (--classes FILE, cifar10, cifar100 or imagenet)"
    return unnamed_classes(outputs), (note,)
