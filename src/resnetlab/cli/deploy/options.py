"""Options that commands with a trained network share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnetlab.cli.loading import announce_loading

if TYPE_CHECKING:
    from resnetlab.model_folder.model_file import ModelFile

Model = Annotated[
    Path, typer.Argument(help="Folder of a model or of a finished run.", metavar="MODEL")
]
TtaOption = Annotated[
    Literal["none", "flip", "ten-crop"],
    typer.Option("--tta", help="Test-time augmentation: none, flip or ten-crop.", metavar="TTA"),
]
Batch = Annotated[
    int, typer.Option("-b", "--batch-size", help="Number of images in a batch.", min=1)
]
Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        help="Share of photographs whose set of classes is to contain the right one, such as 0.9.",
        metavar="SHARE",
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads", help="CPU threads; the default is OMP_NUM_THREADS, else all cores.", min=0
    ),
]


def announce_model(file: ModelFile, quiet: bool = False) -> None:
    """Print the packages that a model needs; let torch's threads sleep while they wait.

    On a busy machine, busy waiting costs more than the forward pass of a photograph, which takes 30
    ms.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    announce_loading(file.model, quiet)
