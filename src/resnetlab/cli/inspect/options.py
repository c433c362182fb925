"""Arguments that the commands of `resnetlab inspect` share, and how they are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from resnetlab.cli.manners import notify
from resnetlab.errors import input_error

ModelName = Annotated[
    str, typer.Argument(help="Name from `resnetlab models`, or timm/NAME.", metavar="MODEL")
]
Input = Annotated[
    str, typer.Option("--input", help="Channels x height x width of an image.", metavar="CxHxW")
]
Classes = Annotated[
    int, typer.Option("--classes", help="Number of classes; 0 for the number of the source.", min=0)
]
Run = Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")]
DataOption = Annotated[
    str, typer.Option("--data", help="Present location of the data.", metavar="DATA")
]


def open_images(data: str, output: Path) -> Any:
    """Return a data set with all of its training images, none of them held out for validation."""
    from resnetlab.data.config import DataConfig
    from resnetlab.data.splits import load_dataset

    return load_dataset(DataConfig(source=data, validation=0.0), output / "cache", notify)


def parse_name(name: str, stride_on: str = "", classes: int = 0) -> Any:
    """Return the model config of a name. Raises InputError."""
    from resnetlab.models.configs.external import allow_typed, check_code, with_num_classes
    from resnetlab.models.parse import parse_model
    from resnetlab.models.timm_source import parse_model_source

    allow_typed(name)
    if stride_on:
        spec = parse_model({"name": name, "stride_on": stride_on}, "MODEL", "")
    else:
        spec = parse_model_source(name, "MODEL", weights=False)
    check_code(spec)
    return with_num_classes(spec, classes) if classes else spec


def default_input(name: str) -> tuple[int, int, int, int]:
    """Return the default channels, height, width and number of classes of a network: those of its
    registered name, or of the first network of its family.
    """
    from resnetlab.models.registry import registered_models
    from resnetlab.models.timm_source import is_timm_source, read_timm_source

    if is_timm_source(name):
        folder = read_timm_source(name, "MODEL")
        return folder.channels, folder.size, folder.size, folder.num_classes
    entries = registered_models()
    family = parse_name(name).family if name.endswith(".toml") else ""
    same = [entry for entry in entries if name == entry.name or family == entry.model.family]
    if same:
        return same[0].channels, same[0].side, same[0].side, same[0].num_classes
    return (3, 224, 224, 1000) if "/" in name else (3, 32, 32, 10)


def input_size(name: str, text: str) -> tuple[int, int, int]:
    """Return channels, height and width of `--input`, or those of the network if it is empty."""
    return parse_sizes(text, "--input", "--input 3x32x32") if text else default_input(name)[:3]


def parse_sizes(text: str, where: str, fix: str) -> tuple[int, int, int]:
    """Parse three sizes such as `3x32x32`. Raises InputError, with `where` and `fix`."""
    match = re.fullmatch(r"([0-9]{1,5})[xX*]([0-9]{1,5})[xX*]([0-9]{1,5})", text.strip())
    sizes = tuple(map(int, match.groups())) if match else ()
    if len(sizes) != 3 or 0 in sizes:
        raise input_error(where, "not three sizes, each at least 1", fix, got=text)
    return sizes[0], sizes[1], sizes[2]
