"""Commands that take the runs of a study to another machine: `study export` and `study collect`.

Heavy imports stay inside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnetlab.cli.common import CHECK_FAILED, Json, notify, print_json
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.study.options import StudyOrFolder, find_started_folder
from resnetlab.errors import MAX_LISTED_PROBLEMS, escape_controls, input_error
from resnetlab.messages import format_count, truncate_lines
from resnetlab.shell import command_line


def study_export(
    source: StudyOrFolder,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Archive to write; without it NAME-runs.tar.gz.", metavar="FILE"
        ),
    ] = None,
    light: Annotated[
        bool,
        typer.Option(
            "--light",
            help="Leave out the weights and round the logits: what a report needs, no more.",
        ),
    ] = False,
    output: Output = Path(),
    json: Json = False,
) -> None:
    """Write the finished runs of a study as one archive for another machine."""
    folder, root = find_started_folder(source, overridden=False, output=output)
    if folder is None:
        fix = f"start it: {command_line(['resnetlab', 'study', 'run', source])}"
        raise input_error(source, "was not started here", fix)
    from resnetlab.studies.exchange.export_runs import export_runs
    from resnetlab.studies.execution import read_plan
    from resnetlab.studies.started import source_sha256, study_path

    archive, plan = out or Path(f"{folder.name}-runs.tar.gz"), read_plan(folder)
    exported = export_runs(plan, root, archive, light=light)
    if json:
        print_json(vars(exported))
        return
    per_run = exported.size / exported.runs / 1000
    typer.echo(
        f"{exported.runs} of {format_count(exported.planned, 'run')}: {exported.path}, "
        f"{exported.size / 1e6:.1f} MB ({per_run:,.0f} kB per run)"
    )
    path = study_path(plan.study.name)  # runs of other seeds join by the name, not by the folder
    is_in_catalog = path.is_file() and plan.source_sha256 == source_sha256(path)
    study = plan.study.name if is_in_catalog else source
    command = command_line(["resnetlab", "study", "collect", exported.path.name, "--into", study])
    typer.echo(f"On the other machine: {command}")


def study_collect(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Archives of study export, or folders with runs.", metavar="FOLDER_OR_ARCHIVE..."
        ),
    ],
    into: Annotated[
        str,
        typer.Option("--into", help="Study that the runs join, or its folder.", metavar="STUDY"),
    ],
    output: Output = Path(),
    json: Json = False,
) -> None:
    """Add the finished runs of other machines to a study."""
    from resnetlab.studies.exchange.collect_runs import collect_runs

    collection = collect_runs(sources, into, output)
    if json:
        print_json(collection.to_dict())
    else:
        for line in collection.notes:
            notify(line)
        lines = [
            f"{run.source}: {run.run}: {run.decision}: {run.reason}"
            for run in collection.runs
            if run.reason
        ]
        for line in truncate_lines(lines, MAX_LISTED_PROBLEMS):
            typer.echo(escape_controls(line))
        counts = ", ".join(f"{count} {name}" for name, count in collection.counts.items())
        typer.echo(f"{format_count(len(collection.runs), 'run')} read: {counts}")
        command = command_line(["resnetlab", "study", "report", str(collection.folder)])
        typer.echo(
            f"{collection.finished} of {format_count(collection.planned, 'run')} finished; "
            f"the report: {command}"
        )
    if collection.counts.get("damaged"):
        raise typer.Exit(CHECK_FAILED)
