"""Commands `models` and `import-weights`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resnetlab.cli.common import Json, notify, print_json
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
    typer.echo(
        "For finetune, import-weights and inspect model also local-dir:FOLDER, hf-hub:OWNER/NAME."
    )


def import_weights(
    file: Annotated[
        Path,
        typer.Argument(help="File of weights: .safetensors, .pth, .pt, .th, .bin or .ckpt."),
    ],
    as_model: Annotated[
        str,
        typer.Option(
            "--as",
            help="Network of these weights: cifar-resnet20, resnet50, timm/NAME, "
            "torchvision/NAME, local-dir:FOLDER or hf-hub:OWNER/NAME of timm, "
            "package.module:function or a TOML file.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model.", metavar="DIR")] = Path(),
    repository: Annotated[
        str,
        typer.Option(
            help="Repository of the weights, whose preprocessing and classes are known: "
            "akamaster, kuangliu, bearpaw, chenyaofo, weiaicunzai or pytorch."
        ),
    ] = "",
    mean: Annotated[
        str, typer.Option(help="Mean per channel, of pixels from 0 to 1.", metavar="R,G,B")
    ] = "",
    std: Annotated[str, typer.Option(help="Standard deviation per channel.", metavar="R,G,B")] = "",
    classes: Annotated[
        str,
        typer.Option(
            help="Class names: cifar10, cifar100, imagenet, or a file with one a line, in the "
            "order of the outputs.",
            metavar="FILE",
        ),
    ] = "",
    resize: Annotated[
        int, typer.Option(help="Shorter side in pixels before the center crop.", min=0)
    ] = 0,
    key: Annotated[
        str, typer.Option(help="Key of the weights in the file: state_dict_ema, ...")
    ] = "",
    license: Annotated[
        str, typer.Option(help="License of the weights: Apache-2.0, CC-BY-NC-4.0, ...")
    ] = "",
    json: Json = False,
) -> None:
    """Convert weights of another repository or package to a model.

    What the file does not state is taken from the options or from --repository. What is assumed is
    printed and written into the model.

    Example:  resnetlab import-weights resnet20.th --as cifar-resnet20 --repository akamaster
    """
    from resnetlab.cli.loading import announce_loading
    from resnetlab.models.timm_source import parse_model_source
    from resnetlab.models.weight_sources import find_source, parse_channels, parse_classes

    parse_model_source(as_model, "--as", weights=False)
    if not file.is_file():
        raise input_error(str(file), "no such file", "give a file of weights")
    if repository:
        find_source(repository)
    means, stds = (
        parse_channels(text, option) if text else ()
        for text, option in ((mean, "--mean"), (std, "--std"))
    )
    names = parse_classes(classes) if classes else ()
    announce_loading()
    from resnetlab.models import convert

    options = convert.ImportOptions(license, repository, means, stds, names, resize, key)
    imported = convert.import_weights(file, as_model, out, options, notify)
    if json:
        print_json(
            {
                "file": str(imported.path),
                "model": as_model,
                "license": imported.license,
                "assumed": imported.assumed,
            }
        )
    else:
        typer.echo(imported.path)
