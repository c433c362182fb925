"""Tables for the terminal."""

from __future__ import annotations

import json

import typer

from resnetlab.inspection import tables
from resnetlab.models.names import entries
from resnetlab.studies.spec import load_study, study_names
from resnetlab.studies.tables import source_of


def list_studies(markdown: bool) -> None:
    """The studies of the catalog with their question; as Markdown also where each comes from."""
    rows = []
    for name in study_names():
        found = load_study(name)
        row: dict[str, str | int] = {"study": name, "conditions": len(found.conditions), "seeds": len(found.seeds)}
        row["question"] = found.question
        if markdown:
            row["source"] = source_of(name)
        rows.append(row)
    typer.echo(tables.render(rows, "markdown" if markdown else "text"))


def list_models(as_json: bool) -> None:
    """The networks by name, counted for the images and classes of their source."""
    rows = []
    for entry in entries():
        parameters, macs = entry.model.cost(entry.channels, entry.classes, entry.side)
        image = f"{entry.channels}x{entry.side}x{entry.side}"
        rows.append(
            {
                "name": entry.name, "parameters": parameters, "macs": macs, "input": image, "classes": entry.classes,
                "source": entry.source,
            }
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    names, sources = (max(len(str(row[key])) for row in rows) for key in ("name", "source"))
    typer.echo(f"{'name':{names}} {'parameters':>12} {'multiply-adds':>15}  {'source':{sources}}  counted for")
    for row in rows:
        counts = f"{row['parameters']:>12,} {row['macs']:>15,}"
        typer.echo(
            f"{row['name']:{names}} {counts}  {row['source']:{sources}}  {row['input']}, {row['classes']} classes"
        )
    typer.echo("\nAny other depth of 6n + 2 has a name by the same rule: cifar-plain14, cifar-resnet164-b.")
    typer.echo("Networks of others: timm/NAME, torchvision/NAME, package.module:function.")
