"""Import of weights from well-known repositories: CIFAR ResNets, and torchvision's ResNets."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnetlab.errors import input_error
from resnetlab.files import sha256
from resnetlab.models.build import allocate_on_cpu, build_module
from resnetlab.models.configs.cifar import CifarConfig
from resnetlab.models.configs.imagenet import ImageNetConfig
from resnetlab.models.registry import get_model_config
from resnetlab.models.weights import load_weights, write_weights
from resnetlab.schema import encode

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation per channel of ImageNet's pixels, as in torchvision and in the
well-known CIFAR repositories.
"""

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

LICENSES = {"resnext101_32x48d": "CC-BY-NC-4.0"}
"""Licenses of networks whose weights have a single source: those of Mahajan et al. 2018 are
non-commercial.
"""

_KEY_RULES = (
    (re.compile(r"^module\."), ""),
    (re.compile(r"^layer(\d+)\."), lambda match: f"stages.{int(match[1]) - 1}."),
    (re.compile(r"\.(?:downsample|shortcut)\.0\."), ".shortcut.conv."),
    (re.compile(r"\.(?:downsample|shortcut)\.1\."), ".shortcut.norm."),
    (re.compile(r"\.bn(\d)\."), lambda match: f".norm{match[1]}."),
    (re.compile(r"^conv1\."), "stem."),
    (re.compile(r"^bn1\."), "stem_norm."),
    (re.compile(r"^(?:fc|linear)\."), "head."),
)


def convert_key(name: str) -> str:
    """Return this package's name of a tensor of those repositories.

    For example, `module.layer1.0.conv1.weight` becomes `stages.0.0.conv1.weight`.
    """
    for pattern, replacement in _KEY_RULES:
        name = pattern.sub(replacement, name)
    return name


def import_weights(file: Path, model_name: str, out: Path, license: str = "") -> Path:
    """Write the weights of a `.th`, `.pth` or `.pt` file as `out`/weights.safetensors and return
    that path.

    The file is loaded without executing code from it. Class names, preprocessing and `license` go
    into the metadata. Raises InputError when the file is no checkpoint, or not one of the model
    `model_name`.
    """
    spec = get_model_config(model_name, "--as", "")
    if not isinstance(spec, CifarConfig | ImageNetConfig):
        raise input_error(
            "--as",
            "no weights of this family are known",
            "a CIFAR or an ImageNet ResNet",
            got=model_name,
        )
    tensors = {convert_key(name): tensor for name, tensor in _read_checkpoint(file).items()}
    head = tensors.get("head.weight")
    if head is None or head.ndim != 2:
        raise input_error(
            str(file),
            "no classifier, neither fc.weight nor linear.weight",
            "give the file of a complete network",
        )
    stem = tensors.get("stem.weight")
    channels = stem.shape[1] if stem is not None and stem.ndim == 4 else 3
    classes = head.shape[0]
    with torch.device("meta"):
        model = build_module(spec, channels, classes)
    model = allocate_on_cpu(model)
    load_weights(model, tensors, str(file))
    facts = {
        "model": encode(spec),
        "classes": _class_names(spec, classes),
        "channels": channels,
        "side": 32 if isinstance(spec, CifarConfig) else 224,
        "mean": IMAGENET_MEAN[:channels],
        "std": IMAGENET_STD[:channels],
        "imported_from": file.name,
        "imported_sha256": sha256(file),
        "license": license or LICENSES.get(model_name, ""),
    }
    if isinstance(spec, ImageNetConfig):
        facts["resize"] = (
            256  # resize of the shorter side before the crop, as in torchvision's evaluation
        )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "weights.safetensors"
    write_weights(path, model.state_dict(), facts)
    return path


def _read_checkpoint(file: Path) -> dict[str, Tensor]:
    fix = "a .th, .pth or .pt file of weights"
    try:
        checkpoint: Any = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise input_error(str(file), "no such file", fix) from None
    except pickle.UnpicklingError:
        problem = (
            "contains more than weights, or is not a file of torch; nothing in it was executed"
        )
        raise input_error(
            str(file), problem, "save it again as a state_dict, with torch.save"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError) as error:
        raise input_error(
            str(file), f"cannot be read: {(str(error).splitlines() or ['empty'])[0]}", fix
        ) from None
    for key in ("state_dict", "model", "net"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
            break
    if (
        not isinstance(checkpoint, dict)
        or not checkpoint
        or not all(isinstance(t, Tensor) for t in checkpoint.values())
    ):
        raise input_error(str(file), "contains no named weights", fix)
    return {str(name): tensor for name, tensor in checkpoint.items()}


def _class_names(spec: CifarConfig | ImageNetConfig, num_classes: int) -> tuple[str, ...]:
    if isinstance(spec, CifarConfig):
        return (
            CIFAR10_CLASSES
            if num_classes == 10
            else tuple(f"class {index}" for index in range(num_classes))
        )
    if num_classes == 1000:
        from torchvision.models import ResNet18_Weights

        return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    return tuple(f"class {index}" for index in range(num_classes))
