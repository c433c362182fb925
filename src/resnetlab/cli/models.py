"""Commands `models` and `import-weights`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resnetlab.cli.manners import Json, print_json
from resnetlab.errors import input_error
from resnetlab.messages import format_count


def models(json: Json = False) -> None:
    """List the networks with their parameters and multiply-adds.

    The counts are for the images and classes of each network's source.
    """
    from resnetlab.models import registry

    rows: list[dict[str, Any]] = []
    for entry in registry.registered_models():
        parameters, macs = entry.model.cost(entry.channels, entry.num_classes, entry.side)
        rows.append(
            {
                "name": entry.name,
                "parameters": parameters,
                "macs": macs,
                "input": f"{entry.channels}x{entry.side}x{entry.side}",
                "classes": entry.num_classes,
                "source": entry.source,
            }
        )
    if json:
        print_json(rows)
        return
    name_width, source_width = (
        max(len(str(row[key])) for row in rows) for key in ("name", "source")
    )
    typer.echo(
        f"{'name':{name_width}} {'parameters':>12} {'multiply-adds':>15}  "
        f"{'source':{source_width}}  counted for"
    )
    for row in rows:
        typer.echo(
            f"{row['name']:{name_width}} {row['parameters']:>12,} {row['macs']:>15,}  "
            f"{row['source']:{source_width}}  {row['input']}, "
            f"{format_count(row['classes'], 'class')}"
        )
    typer.echo(
        "\nNames of other depths 6n + 2 follow the same rule: cifar-plain14, cifar-resnet164-b."
    )
    typer.echo("Networks of other packages: timm/NAME, torchvision/NAME, package.module:function.")


def import_weights(
    file: Annotated[
        Path,
        typer.Argument(
            help="File of weights (.pth, .th or .pt) of a well-known repository or torchvision."
        ),
    ],
    as_model: Annotated[
        str,
        typer.Option("--as", help="Network of these weights: cifar-resnet20, resnet50, ..."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the safetensors file.", metavar="DIR")
    ] = Path(),
    license: Annotated[
        str, typer.Option(help="License of the weights: Apache-2.0, CC-BY-NC-4.0, ...")
    ] = "",
    json: Json = False,
) -> None:
    """Convert weights of another repository to a safetensors file."""
    from resnetlab.cli.loading import announce_loading
    from resnetlab.models.registry import get_model_config

    get_model_config(as_model, "--as", "")
    if not file.is_file():
        raise input_error(str(file), "no such file", "a .th, .pth or .pt file of weights")
    announce_loading()
    from resnetlab.models import convert

    path = convert.import_weights(file, as_model, out, license)
    if json:
        print_json({"file": str(path), "model": as_model, "license": license})
    else:
        typer.echo(path)
