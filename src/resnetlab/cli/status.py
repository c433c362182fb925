"""Command `resnetlab study status`, with few imports so that it is fast."""

from __future__ import annotations

from pathlib import Path

import typer

from resnetlab.cli.manners import print_json
from resnetlab.stats.outcomes import OUTCOMES
from resnetlab.studies.status import study_status, to_dict


def show_status(folder: Path, root: Path, as_json: bool = False) -> None:
    """Print the number of runs with each status, one line per condition."""
    status = study_status(folder, root)
    if as_json:
        print_json(to_dict(status, folder))
        return
    for label, counts in status.counts.items():
        text = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
        typer.echo(f"{label:24} {counts.total()} planned: {text}")
    command = f"; {status.command}" if status.finished < status.planned else ""
    typer.echo(f"{status.finished} of {status.planned} runs finished{command}")
