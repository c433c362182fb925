"""Arguments that the commands of `resnetlab inspect` share, and how they are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from resnetlab.cli.common import notify
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


def parse_name(name: str, stride_on: str = "", num_classes: int = 0) -> Any:
    """Return the model config of a name that was typed. Raises InputError if it is unknown."""
    from resnetlab.api.networks import read_network
    from resnetlab.models.configs.external import allow_typed

    allow_typed(name)
    return read_network(name, stride_on, num_classes)


def input_size(name: str, text: str) -> tuple[int, int, int]:
    """Return channels, height and width of `--input`, or those of the network if it is empty."""
    from resnetlab.api.networks import default_input

    return (
        parse_image_shape(text, "--input", "--input 3x32x32") if text else default_input(name)[:3]
    )


def parse_image_shape(text: str, where: str, fix: str) -> tuple[int, int, int]:
    """Parse three sizes such as `3x32x32`. Raises InputError, with `where` and `fix`."""
    match = re.fullmatch(r"([0-9]{1,5})[xX*]([0-9]{1,5})[xX*]([0-9]{1,5})", text.strip())
    sizes = tuple(map(int, match.groups())) if match else ()
    if len(sizes) != 3 or 0 in sizes:
        raise input_error(where, "not three sizes, each at least 1", fix, got=text)
    return sizes[0], sizes[1], sizes[2]
