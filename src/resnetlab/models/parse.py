"""Parsing of a model: a name, a TOML file or a table becomes a config. Free of torch."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnetlab.errors import InputError, Problem, input_error, suggest
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.bag_of_words import BagOfWordsConfig
from resnetlab.models.configs.cifar import CifarConfig, blocks_for_depth
from resnetlab.models.configs.classic import AlexNetCifarConfig, LeNet5Config, VGGConfig
from resnetlab.models.configs.dense import DenseNetConfig
from resnetlab.models.configs.external import ExternalConfig, record_origin, with_weights_hash
from resnetlab.models.configs.imagenet import ImageNetConfig
from resnetlab.models.registry import get_model_config
from resnetlab.schema import decode, read_toml, without_defaults
from resnetlab.schema_errors import FieldError, unknown_field

_FAMILIES: dict[str, Any] = {
    "cifar": CifarConfig,
    "imagenet": ImageNetConfig,
    "lenet5": LeNet5Config,
    "alexnet-cifar": AlexNetCifarConfig,
    "vgg": VGGConfig,
    "densenet": DenseNetConfig,
    "external": ExternalConfig,
    "bag-of-words": BagOfWordsConfig,
}


def parse_model(value: object, where: str, field: str = "model") -> ModelConfig:
    """Parse a model: a name, a TOML file, or a table that may begin with a name.

    A table with a name holds the fields that differ from that model. Without name and family it
    belongs to the CIFAR family, where `depth` is short for `blocks`. A TOML file is searched next
    to `where`, if that is a file itself, then at its own path; the weights that it names lie next
    to it. Raises InputError that names `where` and `field`.
    """
    if isinstance(value, str):
        if value.endswith(".toml"):
            return _parse_file(value, where)
        named = get_model_config(value, where, field)
        record_origin(named, where)
        return named
    if not isinstance(value, dict):
        raise input_error(where, "not a model", 'model = "cifar-resnet20"', field=field, got=value)
    # All mistakes are reported at once. Only the file form has `name` and `depth`; the config has
    # no such fields.
    table = dict(value)
    problems: list[Problem] = []
    base: ModelConfig | None = None
    if "name" in table:
        try:
            base = get_model_config(table.pop("name"), where, f"{field}.name")
        except InputError as error:
            problems += error.problems
            table = {"blocks": _placeholder_blocks(table)} | table
            table.pop("depth", None)
    family = table.setdefault("family", base.family if base else "cifar")
    config_class = _FAMILIES.get(family) if isinstance(family, str) else None
    if config_class is None:
        raise InputError(*problems, _unknown_family(family, where, field))
    names = [f.name for f in dataclass_fields(config_class)]
    allowed_keys = sorted({*names, "name", *(["depth"] if config_class is CifarConfig else [])})
    for key in [key for key in table if key not in allowed_keys]:
        problems.append(unknown_field(where, f"{field}.{key}", str(key), allowed_keys))
        del table[key]
    if base is not None and base.family == family:
        replaced = _replaced_fields(table)
        inherited = without_defaults(base).items()
        table = {key: item for key, item in inherited if key not in replaced} | table
    if config_class is CifarConfig:
        try:
            table = _with_blocks(table, where, field)
        except InputError as error:
            problems += error.problems
            table["blocks"] = _placeholder_blocks(table)
            table.pop("depth", None)
    try:
        model: ModelConfig = decode(config_class, table, where, field)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(*problems)
    record_origin(model, where)
    return with_weights_hash(model)


def _unknown_family(family: object, where: str, field: str) -> Problem:
    fix = suggest(str(family), _FAMILIES) or 'family = "cifar"'
    got, allowed = f'"{family}"'[:60], ", ".join(_FAMILIES)
    return Problem(where, "unknown", fix, field=f"{field}.family", got=got, allowed=allowed)


def _placeholder_blocks(table: dict[str, Any]) -> list[int]:
    """Return blocks that let the rest of a table be checked if its own are a mistake."""
    return [1] * _stage_count(table)


def with_hub_weights(model: ModelConfig) -> ModelConfig:
    """Return an external model without weights with `weights="hub"`; any other model unchanged."""
    without_weights = isinstance(model, ExternalConfig) and model.library and not model.weights
    if without_weights and isinstance(model, ExternalConfig):
        return replace(model, weights="hub")
    return model


def _parse_file(source: str, where: str) -> ModelConfig:
    """Parse a model from the TOML file `source`, searched next to `where` first."""
    neighbor = Path(where).parent / source
    path = neighbor if where.endswith(".toml") and neighbor.exists() else Path(source)
    table = read_toml(path)
    if isinstance(table.get("weights"), str) and table["weights"] not in ("", "hub"):
        table["weights"] = str(path.parent / table["weights"])
    if "source" in table:
        table.setdefault("family", "external")
    return parse_model(table, str(path))


def _replaced_fields(table: dict[Any, Any]) -> tuple[str, ...]:
    """Return the fields of a named model that a short form in `table` replaces."""
    return ("blocks",) if "depth" in table and table["family"] == "cifar" else ()


def _stage_count(table: dict[Any, Any]) -> int:
    widths = table.get("widths")
    return len(widths) if isinstance(widths, list | tuple) and widths else 3


def _with_blocks(table: dict[Any, Any], where: str, field: str) -> dict[Any, Any]:
    """Return the table with `blocks` in place of `depth`."""
    if "depth" not in table:
        return table
    if "blocks" in table:
        raise input_error(
            where, "given together with blocks", "keep one of the two", field=f"{field}.depth"
        )
    depth = table.pop("depth")
    try:
        blocks = blocks_for_depth(
            depth, _stage_count(table), "depth", 3 if table.get("block") == "bottleneck" else 2
        )
    except FieldError as error:
        raise input_error(where, error.message, error.fix, field=f"{field}.{error.field}") from None
    return table | {"blocks": blocks}
