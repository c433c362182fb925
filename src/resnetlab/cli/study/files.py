"""Commands about study files, which train nothing: `study list`, `check`, `new` and `references`.

Heavy imports stay inside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnetlab.cli.common import DataSource, Json, RecipeName, SettingsOption, print_json
from resnetlab.cli.pictures import write_picture
from resnetlab.cli.study.options import Seeds, StudyName, load_named_study
from resnetlab.cli.tables import Csv, Markdown, output_format
from resnetlab.errors import MAX_LISTED_PROBLEMS, input_error
from resnetlab.messages import format_count, truncate_lines
from resnetlab.shell import command_line


def study_list(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown with sources (docs/studies.md).")
    ] = False,
    json: Json = False,
) -> None:
    """List the studies of the catalog with their questions."""
    from resnetlab.inspection.table_format import render_table
    from resnetlab.studies.parsing.toml_tables import summarize_studies

    rows = summarize_studies()
    if json:
        print_json(rows)
    elif markdown:
        typer.echo(render_table(rows, "markdown"))
    else:
        columns = [{name: row[name] for name in row if name != "source"} for row in rows]
        typer.echo(render_table(columns, "text"))


def study_check(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    json: Json = False,
) -> None:
    """Read a study file and print every mistake in it."""
    from resnetlab.studies.claims import describe_claim

    loaded = load_named_study(source, data, settings, seeds, "").study
    labels = [condition.label for condition in loaded.conditions]
    runs = loaded.num_runs
    if json:
        claims = [
            {"claim": claim.statement, "kind": claim.kind, "compares": describe_claim(claim)}
            for claim in loaded.claims
        ]
        print_json(
            {
                "study": loaded.name,
                "question": loaded.question,
                "conditions": labels,
                "seeds": loaded.seeds,
                "runs": runs,
                "claims": claims,
            }
        )
        return
    shared = f" ({len(loaded.shared_runs)} with the runs of another)" if loaded.shared_runs else ""
    typer.echo(
        f"{source}: {format_count(len(labels), 'condition')}{shared} x "
        f"{format_count(len(loaded.seeds), 'seed')} = {format_count(runs, 'run')}"
    )
    claim_lines = [f"  claim: {c.statement} ({describe_claim(c)})" for c in loaded.claims]
    for lines in ([f"  {label}" for label in labels], claim_lines):
        for line in truncate_lines(lines, MAX_LISTED_PROBLEMS):
            typer.echo(line)


def study_new(
    question: Annotated[str, typer.Option(help="Question that the report answers.")] = "",
    vary: Annotated[
        list[str],
        typer.Option(
            help="Field to vary, with its values: model.depth=20,56. May be repeated.",
            metavar="FIELD=VALUES",
        ),
    ] = [],  # noqa: B006
    data: DataSource = "digits",
    recipe: RecipeName = "adam",
    model: Annotated[
        str, typer.Option(help="Network of the study, unless --vary names it.", metavar="MODEL")
    ] = "cifar-resnet20",
    seeds: Annotated[int, typer.Option(help="Number of seeds per condition.", min=1, max=1000)] = 5,
    out: Annotated[
        Path,
        typer.Option(
            help="File to write; its name without .toml is the name of the study.", metavar="FILE"
        ),
    ] = Path("study.toml"),
    json: Json = False,
) -> None:
    """Write a study file from options or from answers to questions."""
    from resnetlab.studies.scaffold import StudyOptions, write_study

    options = StudyOptions(
        question=question, vary=tuple(vary), data=data, recipe=recipe, seeds=seeds, model=model
    )
    if not vary:
        from resnetlab.cli.study.scaffold import prompt_options

        options, out = prompt_options(options, out)
    write_study(options, out)
    command = command_line(["resnetlab", "study", "check", str(out)])
    if json:
        print_json({"file": out, "command": command})
    else:
        typer.echo(f"wrote {out}; next: {command}")


def study_references(
    source: StudyName,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", help="Write the numbers by depth as SVG.", metavar="FILE"),
    ] = None,
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Print all published numbers of a study, with their protocols, errata and networks' costs."""
    from resnetlab.inspection.table_format import render_table
    from resnetlab.reports.published import depths
    from resnetlab.reports.published.costs import NOTES, cost_rows, source_details, source_lines
    from resnetlab.reports.published.distances import distance_sentences
    from resnetlab.studies.parsing.study_file import load_study

    table_format, loaded = output_format(json, csv, markdown), load_study(source)
    series = depths.depth_series(loaded)
    if draw and not series:
        problem = "the study has no published numbers of networks of different depth"
        raise input_error("--draw", problem, "leave it out")
    from resnetlab.models.model_cost import model_cost  # imports torch, so only after the checks

    details = {"sources": source_details(loaded)} if json else {}
    notes = [*depths.depth_sentences(series), *distance_sentences(loaded), *NOTES]
    notes += [] if json else source_lines(loaded)
    typer.echo(
        render_table(cost_rows(loaded, model_cost), table_format, details=details, notes=notes)
    )
    if draw:
        from resnetlab.reports.figures.reference_depth import draw_reference_depths

        write_picture(draw, draw_reference_depths(series, f"Published numbers: {loaded.name}"))
