"""Import of weights of other repositories and packages: names, class names and preprocessing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnetlab.errors import input_error
from resnetlab.files import sha256
from resnetlab.messages import Notify, silent
from resnetlab.models.build import allocate_on_cpu, build_model, build_uninitialized
from resnetlab.models.configs import CifarConfig, ExternalConfig, ImageNetConfig, VGGConfig
from resnetlab.models.imported_file import ImportedFile, read_imported_file, select_network
from resnetlab.models.imported_metadata import ImportedConfig, ImportOptions, find_metadata
from resnetlab.models.library_transform import LibraryTransform, library_transform
from resnetlab.models.parse import parse_model
from resnetlab.models.tensorfile import read_metadata
from resnetlab.models.timm_source import TimmSource, is_timm_source, read_timm_source
from resnetlab.models.transfer import check_accepts_image_size, find_head
from resnetlab.models.weight_sources import CIFAR10_CLASSES, find_source
from resnetlab.models.weights import load_weights, write_weights
from resnetlab.schema import encode

__all__ = ["CIFAR10_CLASSES", "ImportOptions", "convert_key", "import_weights"]

_KEY_RULES = (
    (re.compile(r"^layer(\d+)\."), lambda match: f"stages.{int(match[1]) - 1}."),
    (re.compile(r"\.(?:downsample|shortcut)\.0\."), ".shortcut.conv."),
    (re.compile(r"\.(?:downsample|shortcut)\.1\."), ".shortcut.norm."),
    (re.compile(r"\.bn(\d)\."), lambda match: f".norm{match[1]}."),
    (re.compile(r"^conv1\."), "stem."),
    (re.compile(r"^bn1\."), "stem_norm."),
    (re.compile(r"^(?:fc|linear)\."), "head."),
)


@dataclass(frozen=True)
class ImportedWeights:
    """Imported weights: their file and what was assumed about them."""

    path: Path
    assumed: tuple[str, ...]
    license: str = ""
    """License of the weights; empty if it is unknown."""


def convert_key(name: str) -> str:
    """Return this package's name of a tensor of a ResNet of torchvision or a CIFAR repository.

    For example, `layer1.0.conv1.weight` becomes `stages.0.0.conv1.weight`.
    """
    for pattern, replacement in _KEY_RULES:
        name = pattern.sub(replacement, name)
    return name


def import_weights(
    file: Path,
    model_name: str,
    out: Path,
    options: ImportOptions | None = None,
    notify: Notify = silent,
) -> ImportedWeights:
    """Write the weights of a checkpoint as `out`/weights.safetensors, which is then a model.

    The file is loaded without executing code from it. Class names and preprocessing come from
    `options`, else from the file, else from the repository or library that it is known to be from.
    What is assumed is given to `notify` and written into the metadata as caveats.

    Args:
        file: Checkpoint: .safetensors, .pth, .pt, .th, .bin or .ckpt.
        model_name: Network: a name of `resnetlab models`, timm/NAME, torchvision/NAME,
            local-dir:FOLDER, hf-hub:OWNER/NAME, package.module:function, or a TOML file.
        out: Folder of the result.
        options: What is known about the weights.
        notify: Function that gets each assumption.

    Raises:
        InputError: The file is no checkpoint, or not one of the network; an option does not fit
            the network; or `out` holds another model.
    """
    options = options or ImportOptions()
    folder = read_timm_source(model_name, "--as") if is_timm_source(model_name) else None
    config = folder.config if folder else parse_model(model_name, "--as", "")
    if not isinstance(config, ImportedConfig):
        raise input_error(
            "--as",
            "no weights of this family are known",
            "a CIFAR or an ImageNet ResNet, a VGG, timm/NAME, torchvision/NAME or a function",
            got=model_name,
        )
    if options.repository:
        find_source(options.repository)
    path = out / "weights.safetensors"
    origin = {"imported_from": file.name, "imported_sha256": sha256(file) if file.is_file() else ""}
    model, checkpoint = _load_network(file, config, options.key)
    if folder:
        options = _with_folder_metadata(options, folder)
    if isinstance(config, ExternalConfig):
        config = replace(config, weights="", sha256="", class_names=(), license=None)
    channels, outputs = _channels(model), _num_outputs(model, config)
    known = library_transform(config, file.name, origin["imported_sha256"])
    if folder:
        known = LibraryTransform(
            folder.config.mean, folder.config.std, folder.size, folder.resize, folder.interpolation
        )
    _check_is_classifier(file, checkpoint, outputs)
    metadata = find_metadata(config, options, checkpoint.metadata, known, channels, outputs, file)
    transform, assumed = metadata.transform, (*checkpoint.notes, *metadata.notes)
    header = {
        "model": encode(config),
        "classes": metadata.class_names,
        "channels": channels,
        "side": transform.size,
        "mean": transform.mean,
        "std": transform.std,
        **({"resize": transform.resize} if transform.resize else {}),
        "eval_transform": encode(transform),
        "caveats": assumed,
        **origin,
        "license": metadata.license,
    }
    check_accepts_image_size(model, transform.size, str(file), channels)
    _check_replaced(out, path, header)
    out.mkdir(parents=True, exist_ok=True)
    write_weights(path, model.state_dict(), header)
    for line in dict.fromkeys((*assumed, metadata.license_note)):
        if line:
            notify(f"note: {line}")
    return ImportedWeights(path, assumed, metadata.license)


def _with_folder_metadata(options: ImportOptions, folder: TimmSource) -> ImportOptions:
    """Return the options with what a folder of timm states and they do not give."""
    return replace(
        options,
        classes=options.classes or folder.config.class_names,
        license=options.license or folder.config.license or "",
    )


def _check_replaced(out: Path, path: Path, metadata: dict[str, Any]) -> None:
    """Raise InputError if `out` has a model that another file, or another network, gave."""
    fix = "give another folder with --out, or remove this one"
    for name in ("model.json", "run.json"):
        if (out / name).exists():
            raise input_error(str(out), f"is another model's or run's folder ({name})", fix)
    if path.exists():
        existing = read_metadata(path)
        if any(existing.get(key) != metadata[key] for key in ("imported_sha256", "model")):
            from_file = existing.get("imported_from", "another program")
            raise input_error(str(path), f"exists, with the weights of {from_file}", fix)


def _load_network(file: Path, config: ImportedConfig, key: str) -> tuple[nn.Module, ImportedFile]:
    """Return the network with the weights of the file, and the file's metadata and remarks."""
    checkpoint = read_imported_file(file, key)
    if not isinstance(config, ExternalConfig) and any(
        name.startswith("stages.0.blocks.0.") for name in checkpoint.tensors
    ):
        message = "its names are those of a pre-activation network of timm, which has other layers"
        raise input_error(
            str(file), message, "--as timm/resnetv2_50, or the timm name of its network"
        )
    outputs = 1000 if isinstance(config, ExternalConfig) else 10
    template = _build(config, 3, outputs)
    channels = _file_channels(checkpoint, template)
    if channels != 3:
        template = _build(config, channels, outputs)
    convert: Callable[[str], str] = (
        convert_key if isinstance(config, CifarConfig | ImageNetConfig) else str
    )
    if isinstance(config, VGGConfig):
        checkpoint = map_vgg_in_order(file, checkpoint, template)
    checkpoint = select_network(checkpoint, template.state_dict().keys(), convert)
    head = f"{_head_name(template, config)}.weight"
    checkpoint = _with_head(file, checkpoint, template, head)
    model = _build(config, channels, checkpoint.tensors[head].shape[0])
    load_weights(model, checkpoint.tensors, str(file))
    return model, checkpoint


def _file_channels(checkpoint: ImportedFile, template: nn.Module) -> int:
    """Return the input channels of the weights: those of the tensor of the first convolution.

    The order of a file is no guide: the first tensor by name may be a depthwise convolution.
    """
    first_name = next((name for name, p in template.named_parameters() if p.ndim == 4), "")
    candidates = {name: t for name, t in checkpoint.tensors.items() if t.ndim == 4}
    named = [t for name, t in candidates.items() if f".{name}".endswith(f".{first_name}")]
    first = next(iter(named or candidates.values()), None)
    return first.shape[1] if first is not None and first.shape[1] in (1, 3) else 3


def _build(config: ImportedConfig, channels: int, outputs: int) -> nn.Module:
    if isinstance(config, ExternalConfig):  # such networks may compute buffers that no file has
        plain = replace(config, weights="", sha256="")
        return build_model(plain, channels, outputs, lambda _: torch.Generator())
    with torch.device("meta"):
        model = build_uninitialized(config, channels, outputs)
    return allocate_on_cpu(model)


def _head_name(model: nn.Module, config: ImportedConfig) -> str:
    """Return the name of the classifier: a linear layer, or for some networks a 1x1 convolution."""
    get_classifier = getattr(model, "get_classifier", None)  # timm's
    head = get_classifier() if callable(get_classifier) else None
    names = [name for name, module in model.named_modules() if module is head]
    if names and isinstance(head, nn.Linear | nn.Conv2d):
        return str(names[0])
    return find_head(model, config.slug)[0]


def _with_head(
    file: Path, checkpoint: ImportedFile, template: nn.Module, head: str
) -> ImportedFile:
    """Return the checkpoint with its classifier under the name `head`, whatever name it has."""
    tensors = checkpoint.tensors
    if head in tensors and tensors[head].ndim == template.state_dict()[head].ndim:
        return checkpoint
    candidates = [name for name, tensor in tensors.items() if tensor.ndim == 2]
    width = template.state_dict()[head].shape[1]
    fitting = [name for name in candidates if tensors[name].shape[1] == width]
    if len(fitting) == 1 and fitting[0].endswith("weight"):
        old, new = (name.removesuffix("weight") for name in (fitting[0], head))
        renamed = {
            new + name.removeprefix(old) if name.startswith(old) else name: tensor
            for name, tensor in tensors.items()
        }
        note = f"{fitting[0]} is taken as the classifier"
        return replace(checkpoint, tensors=renamed, notes=(*checkpoint.notes, note))
    shapes = [f"{name} {'x'.join(map(str, tensors[name].shape))}" for name in candidates[:5]]
    listing = f"its matrices: {', '.join(shapes)}" if shapes else "none of its tensors is a matrix"
    raise input_error(
        str(file),
        f"no classifier with {width} inputs, which {head} has ({listing})",
        "give the file of a complete network, or the network of this file to --as",
    )


def map_vgg_in_order(file: Path, checkpoint: ImportedFile, template: nn.Module) -> ImportedFile:
    """Return the tensors of a VGG under this package's names.

    torchvision, timm and others number the same layers in the same order, so the order maps them;
    timm's first linear layer is a 7x7 convolution of the same numbers.

    Args:
        file: Path of the checkpoint, for the error.
        checkpoint: Tensors of the file, returned as they are if they have this package's names.
        template: Network whose names and order of tensors are used; it may be uninitialized.

    Raises:
        InputError: The file has another number of tensors than the network.
    """
    expected = template.state_dict()
    if expected.keys() & checkpoint.tensors.keys():
        return checkpoint
    ours = [name for name in expected if not name.endswith("num_batches_tracked")]
    theirs = [name for name in checkpoint.tensors if not name.endswith("num_batches_tracked")]
    if len(ours) != len(theirs):
        message = f"has {len(theirs)} tensors, the network has {len(ours)}"
        fix = "the network of this file: vgg16, vgg19, or a TOML file with batch_norm = true"
        raise input_error(str(file), message, fix)
    tensors: dict[str, Tensor] = {}
    for name, other in zip(ours, theirs, strict=True):
        tensor = checkpoint.tensors[other]
        is_head = name.startswith("fc")
        tensors[name] = tensor.flatten(1) if is_head and tensor.ndim == 4 else tensor
    return replace(checkpoint, tensors=tensors)


def _channels(model: nn.Module) -> int:
    first = next((p for p in model.parameters() if p.ndim == 4), None)
    return first.shape[1] if first is not None and first.shape[1] in (1, 3) else 3


def _num_outputs(model: nn.Module, config: ImportedConfig) -> int:
    return model.get_parameter(f"{_head_name(model, config)}.weight").shape[0]


def _check_is_classifier(file: Path, checkpoint: ImportedFile, outputs: int) -> None:
    """Raise InputError for weights whose outputs are not the logits of exclusive classes."""
    fix = "fine-tune the network for classes of which each image has one"
    if outputs == 1:
        message = "one output (a binary or a regression head), whose softmax is always 1"
        raise input_error(str(file), message, fix)
    if checkpoint.is_multi_label:
        message = "a multi-label head, trained with a pos_weight; probabilities here add up to 1"
        raise input_error(str(file), message, fix)
