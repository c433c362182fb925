"""Command line: parse, call one function, print.

Heavy imports stay inside the commands, so that help is instant.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from resnetlab.cli import completion, deploy
from resnetlab.cli.data import data
from resnetlab.cli.doctor import doctor
from resnetlab.cli.finetune import AcceptLicense, finetune, fixres
from resnetlab.cli.inspect import inspect
from resnetlab.cli.manners import (
    EXIT_CODES,
    INTERNAL_ERROR,
    VERBOSITY,
    Device,
    DryRun,
    Json,
    Open,
    OutputDir,
    add_common_options,
    notify,
    open_page,
    print_json,
)
from resnetlab.errors import ResnetlabError, escape_controls, input_error
from resnetlab.shell import command_line

SECTIONS = {
    "Experiments": ("study", "train", "resume", "compare", "verify"),
    "Your photographs": ("finetune", "fixres", "data"),
    "Using a model": ("predict", "evaluate", "ensemble", "explain", "export", "serve"),
    "Looking inside": ("models", "inspect", "import-weights"),
    "This machine": ("doctor",),
}

EPILOG = (
    "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."
)


class _Group(TyperGroup):
    """Group of commands that prints its help, without an error, if no command is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])


class _SectionedGroup(_Group):
    """Group of commands whose help has sections by purpose."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        for title, names in SECTIONS.items():
            with formatter.section(title):
                section_commands = [
                    (name, command) for name in names if (command := commands[name]) is not None
                ]
                formatter.write_dl(
                    [(name, command.get_short_help_str(80)) for name, command in section_commands]
                )


HELP_NAMES = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    cls=_SectionedGroup,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP_NAMES,
    epilog=EPILOG,
    help="Controlled experiments with residual networks for image classification.\n\n"
    "Start with:  resnetlab study run digits",
)
study = typer.Typer(
    cls=_Group, rich_markup_mode=None, help="Run a study over several seeds and report it."
)
app.add_typer(study, name="study")
for group, name in ((data, "data"), (inspect, "inspect")):
    group.info.cls = _Group
    app.add_typer(group, name=name)
for command in (
    deploy.predict,
    deploy.evaluate,
    deploy.ensemble,
    deploy.explain,
    deploy.export,
    deploy.serve,
    doctor,
):
    app.command()(command)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            text = version("resnetlab")
        except PackageNotFoundError:  # run from a source tree
            text = "source tree"
        typer.echo(f"resnetlab {text}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Print the version.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Declare the options of the program itself."""


@app.command("version", hidden=True)
def version_command() -> None:
    """Print the version."""
    _version(True)


@app.command("help", hidden=True)
def help_command(
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND...")] = None,
) -> None:
    """Print the help of a command."""
    build_command()([*(command or []), "--help"], prog_name="resnetlab")


SettingsOption = Annotated[
    list[str],
    typer.Option(
        "--set", help="Change a field: recipe.epochs=2. May be repeated.", metavar="FIELD=VALUE"
    ),
]
Seeds = Annotated[
    str, typer.Option(help="A number of seeds (3 is 0, 1, 2) or a list (0,1,7).", metavar="SEEDS")
]
Output = OutputDir
DataSource = Annotated[
    str,
    typer.Option(
        "--data",
        help="digits, cifar10, ..., an .npz of arrays, or a folder of images.",
        metavar="DATA",
    ),
]
Workers = Annotated[
    int,
    typer.Option("-j", "--workers", help="Worker processes; 0: as many as the cores carry.", min=0),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out the broken files of a folder of images.")
]
StudyName = Annotated[
    str,
    typer.Argument(
        help="A study of the catalog, or a TOML file.",
        metavar="STUDY",
        autocompletion=completion.studies,
    ),
]
Recipe = Annotated[
    str,
    typer.Option(
        help="A recipe of the catalog, or a TOML file.",
        metavar="RECIPE",
        autocompletion=completion.recipes,
    ),
]


@study.command("run")
def study_run(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    output: Output = Path(),
    workers: Workers = 0,
    device: Device = "",
    skip_bad: SkipBad = False,
    parallel_seeds: Annotated[
        int,
        typer.Option(
            help="Seeds of a condition that a worker trains side by side, on a GPU.", min=1
        ),
    ] = 1,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Add seeds, at looks of 3, 5 and 10, to the arms of undecided claims.",
        ),
    ] = False,
    max_seeds: Annotated[
        int, typer.Option(help="With --until-decided: no more than this many a condition.")
    ] = 10,
    backend: Annotated[
        str, typer.Option(help="local, or ray for the machines of a cluster.")
    ] = "local",
    address: Annotated[
        str, typer.Option(help="Of a Ray cluster; auto finds one here; empty starts one.")
    ] = "",
    gpus_per_run: Annotated[
        float, typer.Option(help="With Ray: GPUs a run, or a share of one.")
    ] = 1.0,
    accept_license: AcceptLicense = False,
    dry_run: DryRun = False,
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Run the missing runs of a study and write its report."""
    from resnetlab.cli.work import choose_executor, run_study, show_plan
    from resnetlab.recipes.numerics import Placement, parse_device

    settings = [*settings, *(["data.skip_bad=true"] if skip_bad else [])]
    most = max_seeds if until_decided else None
    index = parse_device(device)[1] if device else 0
    placement = Placement(
        workers=workers,
        gpus_per_run=gpus_per_run,
        parallel_seeds=parallel_seeds,
        device_index=index,
    )
    executor = choose_executor(backend, output, placement, address)
    loaded = _load(source, data, settings, seeds, device)
    if dry_run:
        raise typer.Exit(
            show_plan(loaded.plan(output, notify, executor), output, workers, as_json=json)
        )
    raise typer.Exit(
        run_study(
            loaded, output, executor, most, accept_license, as_json=json, open_report=open_report
        )
    )


@study.command("plan")
def study_plan(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    output: Output = Path(),
    workers: Workers = 0,
    device: Device = "",
    json: Json = False,
) -> None:
    """Estimate the time and the statistical power of a study; trains nothing."""
    from resnetlab.cli.work import show_plan

    loaded = _load(source, data, settings, seeds, device)
    raise typer.Exit(show_plan(loaded.plan(output, notify), output, workers, as_json=json))


@study.command("status")
def study_status(
    source: Annotated[
        str, typer.Argument(help="A study, or the folder of its report.", metavar="STUDY")
    ],
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    output: Output = Path(),
    device: Device = "",
    json: Json = False,
) -> None:
    """Print which runs of a study are finished, running, missing or waiting."""
    from resnetlab.cli.status import show_status

    folder, root = _find_started(source, any((data, settings, seeds, device)), output)
    if folder is None:
        from resnetlab.studies.plan import folder_name

        plan = _load(source, data, settings, seeds, device).plan(output, notify)
        folder = output / "studies" / folder_name(plan)
    show_status(folder, root, json)


@study.command("report")
def study_report(
    source: Annotated[
        str, typer.Argument(help="A study, or the folder of its report.", metavar="STUDY")
    ],
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    output: Output = Path(),
    device: Device = "",
    latex: Annotated[
        bool, typer.Option("--latex", help="Beside it, as LaTeX with figures as PDF.")
    ] = False,
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Write the report again from the finished runs."""
    loaded, plan, root = _open_or_plan(source, data, settings, seeds, device, output)
    outcome = loaded.report(plan, root)
    if not json:
        typer.echo(outcome.report)
    tex = loaded.latex(plan, root) if latex else None
    if json:
        print_json(outcome.facts() | {"latex": tex})
    elif latex:
        typer.echo(tex)
    if open_report:
        open_page(outcome.report)


@study.command("list")
def study_list(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As Markdown, with sources: docs/studies.md.")
    ] = False,
    json: Json = False,
) -> None:
    """List the studies of the catalog."""
    from resnetlab.cli.catalog import list_studies

    list_studies(markdown, json)


@study.command("check")
def study_check(
    source: StudyName,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    json: Json = False,
) -> None:
    """Read a study file and print every mistake in it; trains nothing."""
    from resnetlab.studies.claims import describe_claim

    loaded = _load(source, data, settings, seeds, "").study
    runs = len(loaded.conditions) * len(loaded.seeds)
    if json:
        claims = [
            {"claim": claim.says, "kind": claim.kind, "compares": describe_claim(claim)}
            for claim in loaded.claims
        ]
        labels = [condition.label for condition in loaded.conditions]
        facts = {
            "study": loaded.name,
            "question": loaded.question,
            "conditions": labels,
            "seeds": loaded.seeds,
        }
        print_json(facts | {"runs": runs, "claims": claims})
        return
    typer.echo(
        f"{source}: {len(loaded.conditions)} conditions x {len(loaded.seeds)} seeds = {runs} runs"
    )
    for condition in loaded.conditions:
        typer.echo(f"  {condition.label}")
    for claim in loaded.claims:
        typer.echo(f"  claim: {claim.says} ({describe_claim(claim)})")


@study.command("new")
def study_new(
    question: Annotated[str, typer.Option(help="What the report will answer.")] = "",
    vary: Annotated[
        list[str],
        typer.Option(help="An axis: model.depth=20,56. May be repeated.", metavar="FIELD=VALUES"),
    ] = [],  # noqa: B006
    data: DataSource = "digits",
    recipe: Recipe = "adam",
    model: Annotated[
        str, typer.Option(help="Where no axis names one.", metavar="MODEL")
    ] = "cifar-resnet20",
    seeds: Annotated[int, typer.Option(help="Seeds of each condition.", min=1, max=1000)] = 5,
    out: Annotated[
        Path, typer.Option(help="The file; its name is the study's.", metavar="FILE")
    ] = Path("study.toml"),
    json: Json = False,
) -> None:
    """Write a study file from options or answers; it passes `study check`."""
    from resnetlab.cli.scaffold import prompt_answers
    from resnetlab.studies.scaffold import StudyOptions, write_study

    answers = StudyOptions(
        question=question, vary=tuple(vary), data=data, recipe=recipe, seeds=seeds, model=model
    )
    if not vary:
        answers, out = prompt_answers(answers, out)
    write_study(answers, out)
    command = command_line(["resnetlab", "study", "check", str(out)])
    if json:
        print_json({"file": out, "command": command})
    else:
        typer.echo(f"wrote {out}; next: {command}")


@study.command("references")
def study_references(
    source: StudyName,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
) -> None:
    """Compare a study's networks with the literature; needs no data."""
    from resnetlab.cli.inspect import output_format
    from resnetlab.inspection.render_table import render
    from resnetlab.studies.parsing.study_file import load_study
    from resnetlab.studies.reference_costs import cost_rows

    form, loaded = output_format(json, csv, markdown), load_study(source)
    from resnetlab.models.flops import model_cost  # imports torch, so only after the checks

    notes = ["Parameters and MACs are counted here; what is published was not measured here."]
    typer.echo(render(cost_rows(loaded, model_cost), form, notes=notes))


app.command()(finetune)
app.command()(fixres)


@app.command()
def train(
    model: Annotated[
        str,
        typer.Argument(
            help="A name such as cifar-resnet20 (`resnetlab models` lists them), or your own "
            "MODULE:FUNCTION.",
            autocompletion=completion.models,
        ),
    ],
    data: DataSource = "digits",
    recipe: Recipe = "cifar",
    settings: SettingsOption = [],  # noqa: B006
    epochs: Annotated[int | None, typer.Option(help="Short for --set recipe.epochs=N.")] = None,
    batch_size: Annotated[
        int | None, typer.Option("-b", "--batch-size", help="Images a step.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Full learning rate.")] = None,
    opt: Annotated[str | None, typer.Option(help="sgd, adam or adamw.")] = None,
    sched: Annotated[
        str | None, typer.Option(help="constant, step, exponential, cosine or one-cycle.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    img_size: Annotated[
        int | None, typer.Option(help="Side in pixels for a folder of photographs.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Names every random stream of the run.", min=0)] = 0,
    gradient_norms: Annotated[
        str,
        typer.Option(
            help="Save norms by layer after these epochs; 0: before training.", metavar="EPOCHS"
        ),
    ] = "",
    ablate_blocks: Annotated[
        bool, typer.Option("--ablate-blocks", help="At the end, try it without each block.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where the time goes; keep a trace.")
    ] = False,
    skip_bad: SkipBad = False,
    output: Output = Path(),
    device: Device = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train one network."""
    from resnetlab.cli.work import train_one
    from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
    from resnetlab.recipes.numerics import Placement, parse_device

    kind, index = parse_device(device) if device else ("", 0)

    short = {
        "recipe.epochs": epochs,
        "recipe.batch_size": batch_size,
        "recipe.optimizer.name": opt,
        "recipe.optimizer.lr": lr,
        "recipe.optimizer.weight_decay": weight_decay,
        "recipe.schedule.name": sched,
        "data.image_size": img_size,
        "numerics.device": kind or None,
        "data.skip_bad": "true" if skip_bad else None,
    }
    if not all(part.strip().isdigit() for part in gradient_norms.split(",") if gradient_norms):
        raise input_error(
            "--gradient-norms", "not a list of epochs", "--gradient-norms 0,1,5", got=gradient_norms
        )
    epochs_asked = tuple(dict.fromkeys(int(part) for part in gradient_norms.split(",") if part))
    diagnostics = DiagnosticsConfig(gradient_norms=epochs_asked, ablate_blocks=ablate_blocks)
    fields = [f"{field}={value}" for field, value in short.items() if value is not None]
    placement, changed = Placement(profile=profile, device_index=index), [*fields, *settings]
    raise typer.Exit(
        train_one(
            model,
            data,
            recipe,
            changed,
            seed,
            diagnostics,
            output,
            placement,
            as_json=json,
            dry_run=dry_run,
        )
    )


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    from_step: Annotated[
        int | None, typer.Option("--from-step", help="A checkpoint's step; 0 starts again.", min=0)
    ] = None,
    data: DataSource = "",
    device: Device = "",
    json: Json = False,
) -> None:
    """Continue a run that was interrupted."""
    from resnetlab.cli.work import resume_one

    raise typer.Exit(resume_one(run, from_step, data or None, device, as_json=json))


@app.command()
def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="A run's folder, or a quoted pattern: 'runs/*-plain56-*'.", metavar="A"
        ),
    ],
    b: Annotated[str, typer.Argument(help="Likewise.", metavar="B")],
    json: Json = False,
) -> None:
    """Compare two sets of finished runs."""
    from resnetlab.studies.compare import compare as compared
    from resnetlab.studies.compare import format_lines, to_dict

    comparison = compared(a, b)
    if json:
        print_json(to_dict(comparison))
        return
    for line in format_lines(comparison):
        typer.echo(line)


@app.command()
def verify(
    result: Annotated[
        Path, typer.Argument(help="A folder with a report: results/digits.", metavar="RESULT")
    ],
    runs: Annotated[int, typer.Option(help="Runs to repeat.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Draws which runs.", min=0)] = 0,
    data: DataSource = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder that holds runs/ and cache/; a temporary one unless given.",
            metavar="DIR",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Repeat some runs of a report and check them against prediction intervals."""
    from resnetlab.cli.work import verify_result

    raise typer.Exit(verify_result(result, output, runs, seed, data, as_json=json))


@app.command()
def models(json: Json = False) -> None:
    """List the networks, with parameters and cost."""
    from resnetlab.cli.catalog import list_models

    list_models(json)


@app.command("import-weights")
def import_weights(
    file: Annotated[
        Path, typer.Argument(help="A .pth or .th of a well-known repository, or torchvision's.")
    ],
    as_model: Annotated[
        str, typer.Option("--as", help="The network that it holds: cifar-resnet20, resnet50, ...")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the safetensors file.", metavar="DIR")
    ] = Path(),
    license: Annotated[
        str, typer.Option(help="Of the weights: Apache-2.0, CC-BY-NC-4.0, ...")
    ] = "",
    json: Json = False,
) -> None:
    """Convert weights of another repository to a safetensors file."""
    from resnetlab.cli.loading import announce_loading
    from resnetlab.models.registry import get_model_config

    get_model_config(as_model, "--as", "")
    if not file.is_file():
        raise input_error(str(file), "no such file", "a .th, .pth or .pt file of weights")
    announce_loading()
    from resnetlab.models.convert import import_weights as convert

    path = convert(file, as_model, out, license)
    if json:
        print_json({"file": str(path), "model": as_model, "license": license})
    else:
        typer.echo(path)


def _load(source: str, data: str, settings: list[str], seeds: str, device: str) -> Any:
    from resnetlab.api import load_study

    if device:
        from resnetlab.recipes.numerics import parse_device

        settings = [*settings, f"numerics.device={parse_device(device)[0]}"]
    return load_study(source, data=data or None, settings=settings, seeds=_parse_seeds(seeds))


def _open_or_plan(
    source: str, data: str, settings: list[str], seeds: str, device: str, output: Path
) -> tuple[Any, Any, Path]:
    """Open a study with its plan and output folder, from the folder of its report or by name."""
    folder, root = _find_started(source, any((data, settings, seeds, device)), output)
    if folder is not None:
        from resnetlab.api import open_study

        return *open_study(folder), root
    loaded = _load(source, data, settings, seeds, device)
    return loaded, loaded.plan(output, notify), output


def _find_started(source: str, changed: bool, output: Path) -> tuple[Path | None, Path]:
    """Find the report folder of a started study, and its output folder; None if the study must be
    planned first.

    A name finds the study even if a command changed it at its start. If there are several such
    studies, the one of the unchanged file is used.
    """
    from resnetlab.studies.status import find_started

    if (Path(source) / "plan.json").exists():
        return Path(source), Path(source).resolve().parent.parent
    if changed:
        return None, output
    started = find_started(source, output)
    if not started.has_report and len(started.overridden_folders) == 1:
        notify(f"As it was begun in {started.overridden_folders[0]}")
        return started.overridden_folders[0], output
    for folder in started.overridden_folders:
        notify(f"Also begun, changed by a command: {folder}")
    return started.plan_folder, output


def _parse_seeds(text: str) -> int | list[int] | None:
    if not text:
        return None
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts) or (
        len(parts) == 1 and not 1 <= int(text) <= 1000
    ):
        raise input_error(
            "--seeds", "not a number or a list of seeds", "--seeds 3, or --seeds 0,1,7", got=text
        )
    return int(text) if len(parts) == 1 else [int(part) for part in parts]


def build_command() -> Callable[..., Any]:
    """Build the command line, with the common options of all commands."""
    command: Callable[..., Any] = typer.main.get_command(app)
    add_common_options(command)
    return command


def main() -> None:
    """Run the command line.

    Print every expected error as one line with its fix, without a traceback.
    """
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # escape characters that the encoding of the output lacks
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    VERBOSITY.quiet = VERBOSITY.verbose = False
    _add_current_folder_to_path()
    try:
        build_command()(sys.argv[1:], prog_name="resnetlab")
    except ResnetlabError as error:
        if VERBOSITY.verbose:
            raise
        for problem in error.problems:
            print(f"resnetlab: error: {problem}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("resnetlab: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `resnetlab ... | head`
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if VERBOSITY.verbose:
            raise
        text = escape_controls(f"{type(error).__name__}: {error}")
        fix = "give --verbose to see where, and report it"
        print(f"resnetlab: error: unforeseen: {text}. Fix: {fix}", file=sys.stderr)
        sys.exit(INTERNAL_ERROR)


def _add_current_folder_to_path() -> None:
    """Add the current folder to the end of `sys.path`, so that `resnetlab train mynet:tiny` finds
    mynet.py.
    """
    folder = str(Path.cwd())
    if not sys.flags.safe_path and folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)


if __name__ == "__main__":
    main()
