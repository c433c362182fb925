"""Tables for the terminal."""

from __future__ import annotations

import json

import typer

from resnetlab.models.names import entries


def list_models(as_json: bool) -> None:
    """The networks by name, counted for 32x32 colour images of ten classes."""
    rows = []
    for entry in entries():
        parameters, macs = entry.model.cost(3, 10, 32)
        rows.append({"name": entry.name, "parameters": parameters, "macs": macs, "source": entry.source})
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    typer.echo(f"{'name':20} {'parameters':>12} {'multiply-adds':>15}  source")
    for row in rows:
        typer.echo(f"{row['name']:20} {row['parameters']:>12,} {row['macs']:>15,}  {row['source']}")
    typer.echo("\nFor 3x32x32 images and 10 classes. Any other depth of 6n + 2 has a name by the same rule.")
