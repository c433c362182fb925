"""`resnetlab study status`, at once: it imports no more than it needs."""

from __future__ import annotations

from pathlib import Path

import typer

from resnetlab.stats.outcome import OUTCOMES
from resnetlab.studies.standing import standing


def show_status(folder: Path, root: Path) -> None:
    """A line a condition: how many of its runs stand where."""
    held = standing(folder, root)
    for label, counts in held.counts.items():
        said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
        typer.echo(f"{label:24} {counts.total()} planned: {said}")
    left = f"; {held.command}" if held.finished < held.planned else ""
    typer.echo(f"{held.finished} of {held.planned} runs finished{left}")
