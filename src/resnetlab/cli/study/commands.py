"""Commands of `resnetlab study`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from resnetlab.cli.common import (
    AcceptLicense,
    DataSource,
    Device,
    DryRun,
    Json,
    Open,
    PageLanguage,
    SettingsOption,
    SkipBad,
    Track,
    notify,
    open_page,
    print_json,
)
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.folder_options import (
    DEFAULT_FOLDER_OPTIONS,
    FolderOptions,
    with_folder_options,
)
from resnetlab.cli.study.collect import study_collect, study_export
from resnetlab.cli.study.files import study_check, study_list, study_new, study_references
from resnetlab.cli.study.options import (
    Address,
    AnswerLanguage,
    Budget,
    Evidence,
    ExecutorName,
    GpusPerRun,
    MaxSeeds,
    ParallelSeeds,
    Seeds,
    StudyName,
    StudyOrFolder,
    UntilDecided,
    Workers,
    check_built_without_code,
    find_started_folder,
    load_named_study,
    open_or_plan,
    variant_name,
)
from resnetlab.cli.study.run import run_and_print
from resnetlab.errors import input_error
from resnetlab.messages import format_count, shared_runs_note
from resnetlab.translation import check_language, use_language

study = typer.Typer(
    rich_markup_mode=None, help="Run a study over several seeds and write its report."
)


@study.command("run")
@with_folder_options
def study_run(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    budget: Budget = False,
    evidence: Evidence = False,
    output: Output = Path(),
    workers: Workers = 0,
    device: Device = "",
    skip_bad: SkipBad = False,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    parallel_seeds: ParallelSeeds = 1,
    until_decided: UntilDecided = False,
    max_seeds: MaxSeeds = 10,
    executor_name: ExecutorName = "local",
    address: Address = "",
    gpus_per_run: GpusPerRun = 1.0,
    accept_license: AcceptLicense = False,
    track: Track = [],  # noqa: B006
    dry_run: DryRun = False,
    lang: PageLanguage = "",
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Run the missing runs of a study and write its report."""
    from resnetlab.recipes.numerics import Placement, parse_device
    from resnetlab.studies.executors.factory import make_executor

    language = check_language(lang)
    placement = Placement(
        workers=workers,
        gpus_per_run=gpus_per_run,
        parallel_seeds=parallel_seeds,
        device_index=parse_device(device)[1] if device else 0,
    )
    executor = make_executor(executor_name, output, placement, address)
    settings = [*settings, *(["data.skip_bad=true"] if skip_bad else [])]
    settings += folder_options.settings()
    variant = variant_name(budget, evidence)
    loaded = load_named_study(source, data, settings, seeds, device, variant)
    if dry_run:
        from resnetlab.cli.plan_forecast import print_forecast

        plan = loaded.plan(output, notify, executor, download=False)
        print_forecast(plan, output, workers, as_json=json)
        return
    run_and_print(
        replace(loaded, language=language),
        output,
        executor,
        max_seeds if until_decided else None,
        accept_license=accept_license,
        as_json=json,
        open_report=open_report,
        track=track,
    )


@study.command("plan")
@with_folder_options
def study_plan(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    budget: Budget = False,
    evidence: Evidence = False,
    output: Output = Path(),
    workers: Workers = 0,
    device: Device = "",
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    no_timing: Annotated[
        bool,
        typer.Option(
            "--no-timing", help="Time no training steps; use only finished runs and old timings."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Estimate the time and the statistical power of a study, without training or downloading."""
    settings = [*settings, *folder_options.settings()]
    variant = variant_name(budget, evidence)
    loaded = load_named_study(source, data, settings, seeds, device, variant)
    from resnetlab.cli.plan_forecast import print_forecast

    plan = loaded.plan(output, notify, download=False)
    print_forecast(plan, output, workers, as_json=json, measure=not no_timing)


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

    named_study = load_named_study(source, data, settings, seeds, "").study
    if json:
        print_json(describe_study(named_study))
        return
    for line in summary_lines(named_study):
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

    folder, root = find_started_folder(source, any((data, settings, seeds, device)), output)
    if folder is None:
        from resnetlab.schema import encode
        from resnetlab.studies.plan import folder_name

        loaded = load_named_study(source, data, settings, seeds, device)
        check_built_without_code(loaded, source)
        plan = loaded.plan(output, notify, download=False)
        folder = output / "studies" / folder_name(plan)
        status = statuses.count_runs(encode(plan), root)
    else:
        status = statuses.study_status(folder, root)
    if json:
        print_json(statuses.to_dict(status, folder))
        return
    for label, counts in status.counts.items():
        names = [name for name in statuses.OUTCOMES_AND_INTERRUPTED if counts[name]]
        text = ", ".join(f"{counts[name]} {name}" for name in names)
        typer.echo(f"{label:24} {counts.total()} planned: {text}")
    if status.shared:
        typer.echo(shared_runs_note(status.shared))
    if status.killed:
        from resnetlab.runs.killed import KILLED

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
    run_pages: Annotated[
        bool,
        typer.Option(
            "--run-pages", help="Write the pages of runs for a study of more than 200 runs too."
        ),
    ] = False,
    lang: PageLanguage = "",
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Write the report again from the finished runs."""
    language = check_language(lang)
    loaded, plan, root = open_or_plan(source, data, settings, seeds, device, output)
    summary = loaded.report(plan, root, language, run_pages or None)
    tex = loaded.latex(plan, root, language) if latex else None
    if json:
        print_json(summary.to_dict() | {"latex": tex})
    else:
        typer.echo(summary.report)
        if tex:
            typer.echo(tex)
    if open_report:
        open_page(summary.report)


@study.command("answers")
def study_answers(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of a report, or its name in studies.", metavar="STUDY_FOLDER"),
    ],
    lang: AnswerLanguage = "en",
    json: Json = False,
) -> None:
    """Print the answers to the questions of a study's sources."""
    from resnetlab.analysis.data_files import load_study_data
    from resnetlab.reports.render.outline import outline_answers
    from resnetlab.reports.study.assemble import build_report
    from resnetlab.schema import encode

    if not (folder / "report.json").is_file() and len(folder.parts) == 1:
        folder = Path("studies") / folder
    if not (folder / "report.json").is_file():
        fix = "give the folder of a report: studies/NAME"
        raise input_error(str(folder), "no report.json in it", fix)
    report = build_report(load_study_data(folder), lang)
    if not report.answers:
        message = "a study without questions of a source"
        raise input_error(str(folder), message, "give the report of a study of the catalog")
    if json:
        print_json([encode(answer) for answer in report.answers])
        return
    with use_language(lang):
        typer.echo("\n\n".join("\n".join(filter(None, pair)) for pair in outline_answers(report)))


study.command("export")(study_export)
study.command("collect")(study_collect)
study.command("list")(study_list)
study.command("check")(study_check)
study.command("new")(study_new)
study.command("references")(study_references)
