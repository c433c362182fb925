"""Tables of the catalog for the terminal."""

from __future__ import annotations

import typer

from resnetlab.cli.manners import print_json


def list_studies(markdown: bool, as_json: bool = False) -> None:
    """Print the studies of the catalog with their questions; as Markdown and JSON also with their
    sources.
    """
    from resnetlab.inspection import render_table
    from resnetlab.studies.parsing.toml_tables import summarize_studies

    rows = summarize_studies()
    if as_json:
        print_json(rows)
        return
    columns = (
        rows
        if markdown
        else [{name: row[name] for name in row if name != "source"} for row in rows]
    )
    typer.echo(render_table.render(columns, "markdown" if markdown else "text"))


def list_models(as_json: bool) -> None:
    """Print the networks with parameters and multiply-adds, for the images and classes of their
    source.
    """
    from resnetlab.models.registry import registered_models

    rows = []
    for entry in registered_models():
        parameters, macs = entry.model.cost(entry.channels, entry.num_classes, entry.side)
        image = f"{entry.channels}x{entry.side}x{entry.side}"
        rows.append(
            {
                "name": entry.name,
                "parameters": parameters,
                "macs": macs,
                "input": image,
                "classes": entry.num_classes,
                "source": entry.source,
            }
        )
    if as_json:
        print_json(rows)
        return
    names, sources = (max(len(str(row[key])) for row in rows) for key in ("name", "source"))
    typer.echo(
        f"{'name':{names}} {'parameters':>12} {'multiply-adds':>15}  {'source':{sources}}  "
        "counted for"
    )
    for row in rows:
        counts = f"{row['parameters']:>12,} {row['macs']:>15,}"
        typer.echo(
            f"{row['name']:{names}} {counts}  {row['source']:{sources}}  {row['input']}, "
            f"{row['classes']} classes"
        )
    typer.echo(
        "\nAny other depth of 6n + 2 has a name by the same rule: cifar-plain14, cifar-resnet164-b."
    )
    typer.echo("Networks of others: timm/NAME, torchvision/NAME, package.module:function.")
