"""`resnetlab study status`, at once: it imports no more than it needs."""

from __future__ import annotations

from pathlib import Path

import typer

from resnetlab.cli.manners import print_json
from resnetlab.stats.outcome import OUTCOMES
from resnetlab.studies.standing import facts, standing


def show_status(folder: Path, root: Path, as_json: bool = False) -> None:
    """Print a line for each condition: how many of its runs have which status."""
    held = standing(folder, root)
    if as_json:
        print_json(facts(held, folder))
        return
    for label, counts in held.counts.items():
        said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
        typer.echo(f"{label:24} {counts.total()} planned: {said}")
    left = f"; {held.command}" if held.finished < held.planned else ""
    typer.echo(f"{held.finished} of {held.planned} runs finished{left}")
