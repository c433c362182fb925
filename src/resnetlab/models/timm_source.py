"""Networks in folders of timm: `local-dir:FOLDER`, and `hf-hub:OWNER/NAME` on the Hugging Face Hub.

Such a folder has a `config.json` with the name of the network and the preprocessing of its images,
and its weights in `model.safetensors`. Free of torch.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from resnetlab.errors import InputError, Problem, first_line, input_error
from resnetlab.files import read_text
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.external import ExternalConfig, with_weights_hash
from resnetlab.models.parse import parse_model
from resnetlab.models.weight_licenses import commercial_use
from resnetlab.schema import decode
from resnetlab.settings import check_downloads_allowed

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

_SOURCE = re.compile(r"(local-dir|hf-hub|hf_hub):(.*)", re.DOTALL)
_SET_BY_CALLER = ("in_chans", "num_classes")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class TimmSource:
    """Network of a folder of timm, without its weights, and the preprocessing that it states."""

    config: ExternalConfig
    size: int
    """Side in pixels of the images that the network was trained for."""
    resize: int
    """Shorter side in pixels before the center crop."""
    interpolation: Literal["bilinear", "bicubic"]
    channels: int
    num_classes: int


def is_timm_source(name: str) -> bool:
    """Return True if `name` is `local-dir:FOLDER` or `hf-hub:OWNER/NAME`."""
    return _SOURCE.fullmatch(name) is not None


def parse_model_source(name: str, where: str, *, weights: bool) -> ModelConfig:
    """Parse a model as `parse_model` does, or one of a folder of timm.

    Args:
        name: Name of a model, a TOML file, `local-dir:FOLDER` or `hf-hub:OWNER/NAME`.
        where: Option or file that has the name, for errors.
        weights: True to name the weights of the folder too, which are downloaded if need be.

    Raises:
        InputError: There is no such model, or the Hub cannot be reached.
    """
    if not is_timm_source(name):
        return parse_model(name, where, "")
    config = read_timm_source(name, where).config
    if not weights:
        return config
    path = _find_file(name, WEIGHTS, where)
    stated = _card_license(name, where) or config.license
    # timm copies the license of the first weights into the description of changed ones.
    if config.license and commercial_use(config.license) == "forbidden":
        stated = config.license
    return with_weights_hash(replace(config, weights=str(path), license=stated))


def read_timm_source(name: str, where: str) -> TimmSource:
    """Read the `config.json` of a folder of timm. Raises InputError if it is damaged."""
    path = _find_file(name, CONFIG, where)
    fix = "give a folder that timm or a fine-tuning of a network of timm wrote"
    try:
        table = json.loads(read_text(path))
        table = table if "pretrained_cfg" in table else {"pretrained_cfg": table} | table
        settings = table["pretrained_cfg"]
        labels = table.get("label_names") or settings.get("label_names") or ()
        arguments = dict(table.get("model_args") or {})
        channels, size = (int(number) for number in settings.get("input_size", (3, 224, 224))[:2])
        outputs = int(table.get("num_classes", settings.get("num_classes", 1000)))
        fraction = float(settings.get("crop_pct") or 0.875)
        spec_table = {
            "family": "external",
            "source": f"timm/{table['architecture']}",
            "kwargs": {key: arguments[key] for key in arguments if key not in _SET_BY_CALLER},
            "mean": settings.get("mean", ()),
            "std": settings.get("std", ()),
            "class_names": labels if isinstance(labels, list) and len(labels) == outputs else (),
            "license": _single_license(settings.get("license")),
        }
        resize = max(size, math.floor(size / fraction))
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        problem = f"is not the description of a network of timm: {first_line(error)}"
        raise input_error(str(path), problem, fix) from None
    config: ExternalConfig = decode(ExternalConfig, spec_table, str(path))
    kind: Literal["bilinear", "bicubic"] = (
        "bilinear" if settings.get("interpolation") == "bilinear" else "bicubic"
    )
    return TimmSource(config, size, resize, kind, channels, outputs)


def _find_file(name: str, file_name: str, where: str) -> Path:
    """Return the path of a file of a folder of timm, after a download from the Hub if need be."""
    match = _SOURCE.fullmatch(name)
    assert match, name
    if match[1] != "local-dir":
        return _find_on_hub(match[2], file_name, where)
    folder = Path(match[2]).expanduser()
    if not match[2] or not folder.is_dir():
        raise input_error(where, "no such folder", "local-dir:FOLDER of a timm model", got=name)
    path = folder / file_name
    if not path.is_file():
        message = f"has no {file_name}, which timm reads"
        fix = "give a folder of a network of timm; predict, evaluate and export take any model"
        raise input_error(str(folder), message, fix)
    return path


def _find_on_hub(repository: str, file_name: str, where: str) -> Path:
    name, _, revision = repository.partition("@")
    if not _HUB_NAME.fullmatch(repository):
        fix = "hf-hub:timm/resnet18.a1_in1k"
        raise input_error(where, "not OWNER/NAME of the Hub", fix, got=repository)
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError:
        fix = 'pip install "resnetlab[timm]"'
        raise input_error(where, "huggingface_hub is not installed", fix) from None
    cached = hub.try_to_load_from_cache(name, file_name, revision=revision or None)
    if isinstance(cached, str):
        return Path(cached)
    fix = f"download the repository by hand and give local-dir:FOLDER, which has {file_name}"
    check_downloads_allowed(f"{repository} of the Hugging Face Hub", fix)
    try:
        return Path(hub.hf_hub_download(name, file_name, revision=revision or None))
    except Exception as error:  # the client raises errors of several packages
        problem = f"{file_name} cannot be downloaded: {first_line(error)}"
        raise InputError(Problem(f"hf-hub:{repository}", problem, fix)) from None


def _card_license(name: str, where: str) -> str | None:
    """Return the license in the front matter of the folder's card, or None."""
    try:
        text = read_text(_find_file(name, CARD, where))
    except InputError:
        return None
    matter = text.split("\n---", 1)[0] if text.startswith("---") else ""
    values = dict(re.findall(r"^(license|license_name):[ \t]*[\"']?([^\"'\n]+)", matter, re.M))
    stated = values.get("license", "")
    return _single_license(values.get("license_name", stated) if stated == "other" else stated)


def _single_license(value: object) -> str | None:
    """Return a license as one text; None if it is missing or says nothing."""
    text = value.strip() if isinstance(value, str) else ""
    return None if text.lower() in ("", "unknown", "other") else text
