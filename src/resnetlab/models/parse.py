"""What a network is, as data: enough to build it, name it, count it. Free of torch."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnetlab.errors import InputError, Problem, mistake, nearest
from resnetlab.models.configs import Model
from resnetlab.models.configs.bag_of_words import BagOfWords
from resnetlab.models.configs.cifar import CifarNet, same_blocks
from resnetlab.models.configs.classic import VGG, AlexNetCifar, LeNet5
from resnetlab.models.configs.dense import DenseNet
from resnetlab.models.configs.external import External, with_hash
from resnetlab.models.configs.imagenet import ImageNetResNet
from resnetlab.models.registry import named_model
from resnetlab.schema import FieldError, decode, read_toml, without_defaults

_FAMILIES: dict[str, Any] = {
    "cifar": CifarNet, "imagenet": ImageNetResNet, "lenet5": LeNet5, "alexnet-cifar": AlexNetCifar, "vgg": VGG,
    "densenet": DenseNet, "external": External, "bag-of-words": BagOfWords,
}  # fmt: skip


def parse_model(value: object, where: str, field: str = "model") -> Model:
    """A model from a file or an option: a name, a TOML file, or a table that may begin with a name.

    A table says what differs from its name; without name and family it is of the CIFAR family, in which `depth` is
    short for `blocks`. A file lies beside `where`, itself a file, or where it says; its weights lie beside it.
    Raises InputError that names `where` and `field`.
    """
    if isinstance(value, str):
        return _filed(value, where) if value.endswith(".toml") else named_model(value, where, field)
    if not isinstance(value, dict):
        raise mistake(where, "not a model", 'model = "cifar-resnet20"', field=field, got=value)
    # A mistake in one part hides none in the others; `name` and `depth` are what the file form adds to the fields.
    table = dict(value)
    problems: list[Problem] = []
    base: Model | None = None
    try:
        base = named_model(table.pop("name"), where, f"{field}.name") if "name" in table else None
    except InputError as error:
        problems += error.problems
        table = {"blocks": [1] * _stages(table)} | {k: v for k, v in table.items() if k != "depth"}
    family = table.setdefault("family", base.family if base else "cifar")
    form = _FAMILIES.get(family) if isinstance(family, str) else None
    if form is None:
        allowed = ", ".join(_FAMILIES)
        fix = nearest(str(family), _FAMILIES) or 'family = "cifar"'
        problems.append(
            Problem(where, "unknown", fix, field=f"{field}.family", got=f'"{family}"'[:60], allowed=allowed)
        )
        raise InputError(*problems)
    names = [item.name for item in dataclass_fields(form)]
    known = sorted({*names, "name", *(["depth"] if form is CifarNet else [])})
    for key in [key for key in table if key not in known]:
        fix = nearest(str(key), known) or "remove it"
        problems.append(Problem(where, "unknown field", fix, field=f"{field}.{key}", allowed=", ".join(known)))
        del table[key]
    if base is not None and base.family == family:
        table = {key: held for key, held in without_defaults(base).items() if key not in _short(table)} | table
    try:
        if form is CifarNet:
            table = _with_blocks(table, where, field)
    except InputError as error:
        problems += error.problems
        table = {key: held for key, held in table.items() if key != "depth"} | {"blocks": [1] * _stages(table)}
    try:
        model: Model = decode(form, table, where, field)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(*problems)
    return with_hash(model)


def from_hub(model: Model) -> Model:
    """A network of timm or torchvision that names no weights, with those of its hub; any other as it is."""
    plain = isinstance(model, External) and model.library and not model.weights
    return replace(model, weights="hub") if plain and isinstance(model, External) else model


def _filed(source: str, where: str) -> Model:
    beside = Path(where).parent / source
    path = beside if where.endswith(".toml") and beside.exists() else Path(source)
    table = read_toml(path)
    if isinstance(table.get("weights"), str) and table["weights"] not in ("", "hub"):
        table["weights"] = str(path.parent / table["weights"])
    if "source" in table:
        table.setdefault("family", "external")
    return parse_model(table, str(path))


def _short(table: dict[Any, Any]) -> tuple[str, ...]:
    return ("blocks",) if "depth" in table and table["family"] == "cifar" else ()


def _stages(table: dict[Any, Any]) -> int:
    widths = table.get("widths")
    return len(widths) if isinstance(widths, list | tuple) and widths else 3


def _with_blocks(table: dict[Any, Any], where: str, field: str) -> dict[Any, Any]:
    """The table with `blocks` in place of `depth`."""
    if "depth" not in table:
        return table
    if "blocks" in table:
        raise mistake(where, "given beside blocks", "keep one of the two", field=f"{field}.depth")
    depth = table.pop("depth")
    try:
        blocks = same_blocks(depth, _stages(table), "depth", 3 if table.get("block") == "bottleneck" else 2)
    except FieldError as error:
        raise mistake(where, error.what, error.fix, field=f"{field}.{error.field}") from None
    return table | {"blocks": blocks}
