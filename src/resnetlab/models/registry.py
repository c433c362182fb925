"""Model registry: names and their configs. Free of torch."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from resnetlab.errors import input_error, suggest
from resnetlab.models.configs import BuiltinConfig, ModelConfig
from resnetlab.models.configs.bag_of_words import BagOfWordsConfig
from resnetlab.models.configs.cifar import (
    DEPTH_REPORT,
    CifarConfig,
    Shortcut,
    cifar_config,
    depth_report_config,
)
from resnetlab.models.configs.classic import (
    VGG16_PAPER,
    VGG19,
    AlexNetCifarConfig,
    LeNet5Config,
    VGGConfig,
)
from resnetlab.models.configs.dense import DenseNetConfig
from resnetlab.models.configs.external import ExternalConfig, is_external
from resnetlab.models.configs.imagenet import IMAGENET
from resnetlab.models.library_names import LIBRARIES, full_names, library_names

_CIFAR = re.compile(r"cifar-(?:(plain)|resnet)([0-9]{1,6})(?:-(b|c|gated|a-end))?")
_DENSE = re.compile(r"densenet([0-9]{1,4})-k([0-9]{1,4})")
_DEPTHS = (20, 32, 44, 56, 110, 1202)
_KINDS = (("plain", ""), ("resnet", ""), ("resnet", "-b"), ("resnet", "-c"))


@dataclass(frozen=True)
class RegisteredModel:
    """Registry entry: a name, its config, and the image shape of its listed cost."""

    name: str
    model: BuiltinConfig
    source: str
    channels: int = 3
    side: int = 32
    num_classes: int = 10


def registered_models() -> list[RegisteredModel]:
    """Return the registered models. Any other depth of 6n + 2 has a name by the same rule."""
    paper = "He et al. 2016, sec. 4.2"
    models = [
        RegisteredModel(
            f"cifar-{kind}{depth}{option}", _cifar(f"cifar-{kind}{depth}{option}"), paper
        )
        for kind, option in _KINDS
        for depth in _DEPTHS
    ]
    models.append(
        RegisteredModel(
            "cifar-resnet110-gated",
            cifar_config(110, "gated"),
            "He et al. 2016b, sec. 3.1; Srivastava et al. 2015",
        )
    )
    for depth in DEPTH_REPORT:
        source = "depth report, table 1" + (": 7 blocks, 16 weighted layers" if depth == 18 else "")
        for kind in ("plain", "resnet"):
            models.append(
                RegisteredModel(
                    f"depth-report-{kind}{depth}",
                    depth_report_config(depth, kind == "plain"),
                    source,
                )
            )
    for name, model in IMAGENET.items():
        resnext_source = {"resnext101_32x48d": "Mahajan et al. 2018"}.get(name, "Xie et al. 2017")
        source = resnext_source if model.cardinality > 1 else "He et al. 2016, table 1"
        models.append(RegisteredModel(name, model, source, 3, 224, 1000))
    return [
        *models,
        RegisteredModel("densenet40-k12", DenseNetConfig(), "Huang et al. 2017, sec. 4.2"),
        RegisteredModel("lenet5", LeNet5Config(), "after LeCun et al. 1998", 1, 28, 10),
        RegisteredModel(
            "alexnet-cifar", AlexNetCifarConfig(), "Deep Learning practical 5-6, sec. 2.1"
        ),
        RegisteredModel(
            "vgg16", VGGConfig(), "Simonyan and Zisserman 2015, table 1 D", 3, 224, 1000
        ),
        RegisteredModel(
            "vgg16-paper",
            VGG16_PAPER,
            "Simonyan and Zisserman 2015, table 1 D, without adaptive pooling",
            3,
            224,
            1000,
        ),
        RegisteredModel("vgg19", VGG19, "Simonyan and Zisserman 2015, table 1 E", 3, 224, 1000),
    ]


def get_model_config(name: str, where: str, field: str) -> ModelConfig:
    """Return the model config of that name. Raises InputError with the nearest known name."""
    if isinstance(name, str):
        if is_external(name):
            return ExternalConfig(source=name)
        cifar_match, dense_match = _CIFAR.fullmatch(name), _DENSE.fullmatch(name)
        try:
            if cifar_match and not (cifar_match[1] and cifar_match[3]):
                return _cifar(name)
            if name == BagOfWordsConfig().slug:
                return BagOfWordsConfig()
            if dense_match:
                return DenseNetConfig(depth=int(dense_match[1]), growth=int(dense_match[2]))
        except ValueError as error:
            problem = getattr(error, "message", str(error))
            fix = getattr(error, "fix", "cifar-resnet20")
            raise input_error(where, problem, fix, field=field) from None
        for entry in registered_models():
            if entry.name == name:
                return entry.model
    if isinstance(name, str) and name.startswith(("local-dir:", "hf-hub:")):
        fix = "name its network, timm/NAME, and give its weights with a model file"
        problem = "such names are for finetune --model, import-weights --as and inspect model"
        raise input_error(where, problem, fix, field=field, got=name)
    names = [entry.name for entry in registered_models()]
    prefixed = f"cifar-{name}"  # other projects say resnet20
    fix = f'did you mean "{prefixed}"?' if prefixed in names else _suggest_name(str(name), names)
    fix = fix or "resnetlab models lists the names"
    raise input_error(where, "unknown model", fix, field=field, got=name)


def _suggest_name(name: str, names: list[str]) -> str:
    """Suggest a network for an unknown name: one of timm or torchvision that has it, or else a
    similar one, of resnetlab first.
    """
    if exact := full_names(name):
        return f'did you mean "{exact[0]}"?'
    if near := difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.75):
        return f'did you mean "{near[0]}"?'
    external = [f"{library}/{word}" for library in LIBRARIES for word in library_names(library)]
    by_word = {full_name.partition("/")[2]: full_name for full_name in reversed(external)}
    near = difflib.get_close_matches(name.lower(), by_word, n=1, cutoff=0.75)
    return f'did you mean "{by_word[near[0]]}"?' if near else suggest(name, names)


def _cifar(name: str) -> CifarConfig:
    match = _CIFAR.fullmatch(name)
    assert match, name
    if match[3] == "a-end":
        return cifar_config(int(match[2]), "A", zero_channels="end")
    shortcuts: dict[str | None, Shortcut] = {None: "A", "b": "B", "c": "C", "gated": "gated"}
    return cifar_config(int(match[2]), "none" if match[1] else shortcuts[match[3]])
