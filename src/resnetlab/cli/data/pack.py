"""Command `data pack`: data sets for a room without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnetlab.cli.common import Json, notify, print_json
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.output_paths import check_output_folder


def data_pack(
    names: Annotated[
        list[str],
        typer.Argument(help="Names such as mnist or cifar10, or .npz files.", metavar="NAMES"),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the pack.", metavar="DIR")] = Path("pack"),
    output: Output = Path(),
    json: Json = False,
) -> None:
    """Write data sets with their SHA-256 into a folder, for a room without a network.

    Copy its files into .data/ of a working folder, where they are found by name.

    Example:  resnetlab data pack mnist cifar10 --out pack
    """
    check_output_folder("--out", out)
    from resnetlab.data.pack import MANIFEST, write_pack

    packed = write_pack(names, out, cache=output / "cache", notify=notify)
    if json:
        print_json({"manifest": out / MANIFEST, "data": [entry.to_dict() for entry in packed]})
        return
    for entry in packed:
        size = entry.bytes / 1e6
        typer.echo(f"{entry.name:16} {entry.sha256}  {size:,.1f} MB  {out / entry.file}")
    typer.echo(out / MANIFEST)
