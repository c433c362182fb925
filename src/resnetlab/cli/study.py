"""Commands of `resnetlab study`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnetlab.cli import completion
from resnetlab.cli.manners import (
    UNFINISHED,
    AcceptLicense,
    DataSource,
    Device,
    DryRun,
    FollowLinksOption,
    Json,
    Open,
    RecipeName,
    SettingsOption,
    SkipBad,
    folder_reading,
    notify,
    open_page,
    print_json,
)
from resnetlab.cli.manners import OutputDir as Output
from resnetlab.cli.pictures import write_picture
from resnetlab.cli.tables import Csv, Markdown, output_format
from resnetlab.errors import MAX_LISTED_PROBLEMS, Problem, ResourceError, input_error
from resnetlab.messages import format_count, truncate_lines
from resnetlab.runs.killed import KILLED
from resnetlab.shell import command_line

if TYPE_CHECKING:
    from resnetlab.loaded_study import LoadedStudy
    from resnetlab.studies.executors.base import Executor
    from resnetlab.studies.plan import Plan

study = typer.Typer(
    rich_markup_mode=None, help="Run a study over several seeds and write its report."
)

StudyName = Annotated[
    str,
    typer.Argument(
        help="Name of a study in the catalog, or a TOML file.",
        metavar="STUDY",
        autocompletion=completion.studies,
    ),
]
StudyOrFolder = Annotated[
    str, typer.Argument(help="Study, or the folder of its report.", metavar="STUDY")
]
Lang = Annotated[
    Literal["en", "fr"],
    typer.Option("--lang", help="Language of the answers to the sources' questions: en or fr."),
]
Seeds = Annotated[
    str,
    typer.Option(
        help="Number of seeds (3 means 0, 1 and 2), or a list of seeds (0,1,7).", metavar="SEEDS"
    ),
]
Budget = Annotated[
    bool,
    typer.Option("--budget", help="Take the reduced variant, for two cores and under an hour."),
]
Workers = Annotated[
    int,
    typer.Option(
        "-j", "--workers", help="Number of processes; 0 chooses it from the cores.", min=0
    ),
]

ParallelSeeds = Annotated[
    int,
    typer.Option(
        help="Number of seeds of a condition that a worker trains in turn on one GPU.", min=1
    ),
]
UntilDecided = Annotated[
    bool,
    typer.Option(
        "--until-decided",
        help="Add seeds to the conditions of undecided claims, up to 3, 5 and 10 seeds.",
    ),
]
MaxSeeds = Annotated[
    int, typer.Option(help="Largest number of seeds per condition with --until-decided.")
]
Backend = Annotated[str, typer.Option(help="Where runs are trained: local, or ray for a cluster.")]
Address = Annotated[
    str,
    typer.Option(
        help="Address of a Ray cluster; auto finds the one of this machine; empty starts one."
    ),
]
GpusPerRun = Annotated[float, typer.Option(help="GPUs per run with Ray, for example 2 or 0.25.")]


@study.command("run")
def study_run(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    budget: Budget = False,
    output: Output = Path(),
    workers: Workers = 0,
    device: Device = "",
    skip_bad: SkipBad = False,
    follow_links: FollowLinksOption = "no",
    parallel_seeds: ParallelSeeds = 1,
    until_decided: UntilDecided = False,
    max_seeds: MaxSeeds = 10,
    backend: Backend = "local",
    address: Address = "",
    gpus_per_run: GpusPerRun = 1.0,
    accept_license: AcceptLicense = False,
    dry_run: DryRun = False,
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Run the missing runs of a study and write its report."""
    from resnetlab.recipes.numerics import Placement, parse_device
    from resnetlab.studies.executors.factory import make_executor

    placement = Placement(
        workers=workers,
        gpus_per_run=gpus_per_run,
        parallel_seeds=parallel_seeds,
        device_index=parse_device(device)[1] if device else 0,
    )
    executor = make_executor(backend, output, placement, address)
    settings = [*settings, *(["data.skip_bad=true"] if skip_bad else []), *_links(follow_links)]
    loaded = _load(source, data, settings, seeds, device, budget=budget)
    if dry_run:
        from resnetlab.cli.outlook import print_outlook

        plan = loaded.plan(output, notify, executor, download=False)
        print_outlook(plan, output, workers, as_json=json)
        return
    _run(
        loaded,
        output,
        executor,
        max_seeds if until_decided else None,
        accept_license=accept_license,
        as_json=json,
        open_report=open_report,
    )


def _run(
    loaded: LoadedStudy,
    output: Path,
    executor: Executor,
    max_seeds: int | None,
    *,
    accept_license: bool,
    as_json: bool,
    open_report: bool,
) -> None:
    """Run a study, print its answer, and end with the exit code of what remained unfinished."""
    from resnetlab.cli.display import execute_with_display
    from resnetlab.cli.outlook import left_out_lines
    from resnetlab.cli.signals import SignalFlag

    for line in left_out_lines(loaded.study.left_out):
        notify(line)
    command = command_line(["resnetlab", *sys.argv[1:]])
    loaded = replace(loaded, resume_command=command)
    with SignalFlag().installed() as interrupt:
        for plan in loaded.plan_rounds(output, notify, max_seeds, executor, accept_license):
            try:
                execute_with_display(loaded, plan, output, executor, interrupt.is_set)
            except ResourceError as error:
                fix = f"free some space, then: {command}"
                raise ResourceError(
                    *(Problem(problem.where, problem.message, fix) for problem in error.problems)
                ) from None
            outcome = loaded.report(plan, output)
            if interrupt.is_set():
                break
    # With `max_seeds`, more seeds may follow after an interim analysis.
    if interrupt.is_set() and (max_seeds is not None or not outcome.finished):
        print(f"No finished run is lost. To continue: {command}", file=sys.stderr)
        raise typer.Exit(interrupt.exit_code)
    if as_json:
        print_json(outcome.to_dict())
    else:
        for line in (outcome.answer, *outcome.first_loss):
            typer.echo(line[:1].upper() + line[1:])
        typer.echo(f"Report: {outcome.report}")
    if open_report:
        open_page(outcome.report)
    if not outcome.finished:
        raise typer.Exit(UNFINISHED)


@study.command("plan")
def study_plan(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    budget: Budget = False,
    output: Output = Path(),
    workers: Workers = 0,
    device: Device = "",
    follow_links: FollowLinksOption = "no",
    no_timing: Annotated[
        bool,
        typer.Option(
            "--no-timing", help="Time no training steps; use only finished runs and old timings."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Estimate the time and the statistical power of a study, without training or downloading."""
    settings = [*settings, *_links(follow_links)]
    loaded = _load(source, data, settings, seeds, device, budget=budget)
    from resnetlab.cli.outlook import print_outlook

    plan = loaded.plan(output, notify, download=False)
    print_outlook(plan, output, workers, as_json=json, measure=not no_timing)


@study.command("show")
def study_show(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    json: Json = False,
) -> None:
    """Print the question, conditions, axes, claims, seeds, data and references of a study."""
    from resnetlab.studies.show import describe_study, summary_lines

    loaded = _load(source, data, settings, seeds, "").study
    if json:
        print_json(describe_study(loaded))
        return
    for line in summary_lines(loaded):
        typer.echo(line)


@study.command("status")
def study_status(
    source: StudyOrFolder,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    output: Output = Path(),
    device: Device = "",
    json: Json = False,
) -> None:
    """Print the number of finished, running and missing runs."""
    from resnetlab.studies import status as statuses

    folder, root = _find_started(source, any((data, settings, seeds, device)), output)
    if folder is None:
        from resnetlab.schema import encode
        from resnetlab.studies.plan import folder_name

        loaded = _load(source, data, settings, seeds, device)
        _check_built_without_code(loaded, source)
        plan = loaded.plan(output, notify, download=False)
        folder = output / "studies" / folder_name(plan)
        status = statuses.count_runs(encode(plan), root)
    else:
        status = statuses.study_status(folder, root)
    if json:
        print_json(statuses.to_dict(status, folder))
        return
    for label, counts in status.counts.items():
        text = ", ".join(
            f"{counts[outcome]} {outcome}" for outcome in statuses.STATUSES if counts[outcome]
        )
        typer.echo(f"{label:24} {counts.total()} planned: {text}")
    if status.killed:
        typer.echo(f"The last process of {format_count(status.killed, 'run')} {KILLED}.")
    command = f"; {status.command}" if status.finished < status.planned else ""
    typer.echo(f"{status.finished} of {format_count(status.planned, 'run')} finished{command}")


@study.command("report")
def study_report(
    source: StudyOrFolder,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    output: Output = Path(),
    device: Device = "",
    latex: Annotated[
        bool, typer.Option("--latex", help="Write the report as LaTeX with PDF figures too.")
    ] = False,
    lang: Lang = "en",
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Write the report again from the finished runs."""
    loaded, plan, root = _open_or_plan(source, data, settings, seeds, device, output)
    outcome = loaded.report(plan, root, lang)
    tex = loaded.latex(plan, root, lang) if latex else None
    if json:
        print_json(outcome.to_dict() | {"latex": tex})
    else:
        typer.echo(outcome.report)
        if tex:
            typer.echo(tex)
    if open_report:
        open_page(outcome.report)


@study.command("answers")
def study_answers(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of a report, or its name in studies.", metavar="STUDY_FOLDER"),
    ],
    lang: Lang = "en",
    json: Json = False,
) -> None:
    """Print the answers to the questions of a study's sources."""
    from resnetlab.analysis.study_data import load
    from resnetlab.reports.render.outline import answers
    from resnetlab.reports.study.assemble import build_report
    from resnetlab.schema import encode

    if not (folder / "report.json").is_file() and len(folder.parts) == 1:
        folder = Path("studies") / folder
    if not (folder / "report.json").is_file():
        fix = "give the folder of a report: studies/NAME"
        raise input_error(str(folder), "no report.json in it", fix)
    report = build_report(load(folder), lang)
    if not report.answers:
        what = "a study without questions of a source"
        raise input_error(str(folder), what, "give the report of a study of the catalog")
    if json:
        print_json([encode(answer) for answer in report.answers])
        return
    typer.echo("\n\n".join("\n".join(filter(None, pair)) for pair in answers(report)))


@study.command("list")
def study_list(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown with sources (docs/studies.md).")
    ] = False,
    json: Json = False,
) -> None:
    """List the studies of the catalog with their questions."""
    from resnetlab.inspection.render_table import render
    from resnetlab.studies.parsing.toml_tables import summarize_studies

    rows = summarize_studies()
    if json:
        print_json(rows)
    elif markdown:
        typer.echo(render(rows, "markdown"))
    else:
        columns = [{name: row[name] for name in row if name != "source"} for row in rows]
        typer.echo(render(columns, "text"))


@study.command("check")
def study_check(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    json: Json = False,
) -> None:
    """Read a study file and print every mistake in it."""
    from resnetlab.studies.claims import describe_claim

    loaded = _load(source, data, settings, seeds, "").study
    labels = [condition.label for condition in loaded.conditions]
    runs = len(labels) * len(loaded.seeds)
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
    typer.echo(
        f"{source}: {format_count(len(labels), 'condition')} x "
        f"{format_count(len(loaded.seeds), 'seed')} = {format_count(runs, 'run')}"
    )
    claim_lines = [f"  claim: {c.statement} ({describe_claim(c)})" for c in loaded.claims]
    for lines in ([f"  {label}" for label in labels], claim_lines):
        for line in truncate_lines(lines, MAX_LISTED_PROBLEMS):
            typer.echo(line)


@study.command("new")
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
        from resnetlab.cli.scaffold import prompt_options

        options, out = prompt_options(options, out)
    write_study(options, out)
    command = command_line(["resnetlab", "study", "check", str(out)])
    if json:
        print_json({"file": out, "command": command})
    else:
        typer.echo(f"wrote {out}; next: {command}")


@study.command("references")
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
    from resnetlab.inspection.render_table import render
    from resnetlab.studies import reference_depths
    from resnetlab.studies.parsing.study_file import load_study
    from resnetlab.studies.reference_costs import NOTES, cost_rows, source_details, source_lines

    table_format, loaded = output_format(json, csv, markdown), load_study(source)
    series = reference_depths.depth_series(loaded)
    if draw and not series:
        problem = "the study has no published numbers of networks of different depth"
        raise input_error("--draw", problem, "leave it out")
    from resnetlab.models.flops import model_cost  # imports torch, so only after the checks

    facts = {"sources": source_details(loaded)} if json else {}
    notes = [*reference_depths.depth_sentences(series), *NOTES]
    notes += [] if json else source_lines(loaded)
    typer.echo(render(cost_rows(loaded, model_cost), table_format, facts=facts, notes=notes))
    if draw:
        from resnetlab.reports.figures.reference_depth import draw_reference_depths

        write_picture(draw, draw_reference_depths(series, f"Published numbers: {loaded.name}"))


# Studies by name or folder
# --------------------------------------------------------------------------------------------------


def _links(follow_links: str) -> list[str]:
    """Return the setting for `--follow-links`. Raises InputError."""
    choice = folder_reading(follow_links).follow_links
    return [f"data.follow_links={choice}"] if choice != "no" else []


def _load(
    source: str, data: str, settings: list[str], seeds: str, device: str, budget: bool = False
) -> LoadedStudy:
    from resnetlab.api import load_study
    from resnetlab.models.configs.external import allow_typed

    for setting in settings:
        field, _, value = setting.partition("=")
        if field.strip() in ("model", "model.name"):
            allow_typed(value.strip().strip("'\""))

    if device:
        from resnetlab.recipes.numerics import parse_device

        settings = [*settings, f"numerics.device={parse_device(device)[0]}"]
    return load_study(
        source, data=data or None, settings=settings, seeds=_parse_seeds(seeds), budget=budget
    )


def _check_built_without_code(loaded: LoadedStudy, source: str) -> None:
    """Raise InputError for a study with code of its own, whose plan needs that code."""
    for condition in loaded.study.conditions:
        if getattr(condition.model, "has_own_code", False):
            what = f"was not started here, and its plan needs the code {condition.model.slug}"
            fix = command_line(["resnetlab", "study", "plan", source, "--trust-code"])
            raise input_error(source, what, fix)


def _parse_seeds(text: str) -> int | list[int] | None:
    """Parse `--seeds`: a number of seeds, a list of seeds, or nothing. Raises InputError."""
    if not text:
        return None
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts) or (
        len(parts) == 1 and not 1 <= int(text) <= 1000
    ):
        message, fix = "not a number or a list of seeds", "--seeds 3, or --seeds 0,1,7"
        raise input_error("--seeds", message, fix, got=text)
    return int(text) if len(parts) == 1 else [int(part) for part in parts]


def _open_or_plan(
    source: str, data: str, settings: list[str], seeds: str, device: str, output: Path
) -> tuple[LoadedStudy, Plan, Path]:
    """Return a study, its plan and its output folder, from a report's folder or by name."""
    folder, root = _find_started(source, any((data, settings, seeds, device)), output)
    if folder is not None:
        from resnetlab.api import open_study

        return *open_study(folder), root
    from resnetlab.studies.run import save_plan

    loaded = _load(source, data, settings, seeds, device)
    plan = loaded.plan(output, notify)
    save_plan(plan, output)
    return loaded, plan, output


def _find_started(source: str, overridden: bool, output: Path) -> tuple[Path | None, Path]:
    """Find the report folder of a started study, and its output folder.

    The folder is None if the study must be planned first. A name finds the study even if options
    changed it when it was started. If there are several such studies, the unchanged one is used.
    """
    from resnetlab.studies.status import find_started

    if (Path(source) / "plan.json").exists():
        return Path(source), Path(source).resolve().parent.parent
    if overridden:
        return None, output
    started = find_started(source, output)
    if not started.has_report and len(started.overridden_folders) == 1:
        notify(f"Using the started study in {started.overridden_folders[0]}")
        return started.overridden_folders[0], output
    for folder in started.overridden_folders:
        notify(f"Also started, with other options: {folder}")
    return started.plan_folder, output
