"""The command line: parse, call one function, print. Heavy imports stay inside the commands: help is instant."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from resnetlab.cli import deploy
from resnetlab.cli.data import data
from resnetlab.cli.finetune import Accept, finetune, fixres
from resnetlab.cli.inspect import inspect
from resnetlab.errors import ResnetlabError, mistake, printable
from resnetlab.shell import command_line

SECTIONS = {
    "Experiments": ("study", "train", "resume", "compare", "verify"),
    "Your photographs": ("finetune", "fixres", "data"),
    "Using a model": ("predict", "evaluate", "ensemble", "explain", "export", "serve"),
    "Looking inside": ("models", "inspect", "import-weights"),
}


class _Sections(TyperGroup):
    """Help that groups the commands by what people come for."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        for title, names in SECTIONS.items():
            with formatter.section(title):
                held = [(name, command) for name in names if (command := commands[name]) is not None]
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in held])


app = typer.Typer(
    cls=_Sections, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Controlled experiments with residual networks for image classification.\n\n"
    "Start with:  resnetlab study run digits",
)  # fmt: skip
study = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Run a study over several seeds and report it.")
app.add_typer(study, name="study")
app.add_typer(data, name="data")
app.add_typer(inspect, name="inspect")
for command in (deploy.predict, deploy.evaluate, deploy.ensemble, deploy.explain, deploy.export, deploy.serve):
    app.command()(command)

Output = Annotated[Path, typer.Option("--output", help="Root of runs/ and studies/.", metavar="DIR")]
Set = Annotated[
    list[str], typer.Option("--set", help="Change a field: recipe.epochs=2. May be repeated.", metavar="FIELD=VALUE")
]
Seeds = Annotated[str, typer.Option(help="A number of seeds (3 is 0, 1, 2) or a list (0,1,7).", metavar="SEEDS")]
DataSource = Annotated[
    str, typer.Option("--data", help="digits, cifar10, ..., an .npz of arrays, or a folder of images.", metavar="DATA")
]
Workers = Annotated[
    int, typer.Option("-j", "--workers", help="Worker processes; 0: as many as the cores carry.", min=0)
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out the broken files of a folder of images.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="DEVICE")]
StudyName = Annotated[str, typer.Argument(help="A study of the catalog, or a TOML file.", metavar="STUDY")]


@study.command("run")
def study_run(
    source: StudyName, data: DataSource = "", settings: Set = [], seeds: Seeds = "", output: Output = Path(),  # noqa: B006
    workers: Workers = 0, device: Device = "", skip_bad: SkipBad = False,
    abreast: Annotated[int, typer.Option(help="Seeds of a condition that a worker trains side by side, on a GPU.",
                                         min=1)] = 1,
    until_decided: Annotated[bool, typer.Option("--until-decided", help="Add seeds, at looks of 3, 5 and 10, to the "
                                                "arms of undecided claims.")] = False,
    max_seeds: Annotated[int, typer.Option(help="With --until-decided: no more than this many a condition.")] = 10,
    backend: Annotated[str, typer.Option(help="local, or ray for the machines of a cluster.")] = "local",
    address: Annotated[str, typer.Option(help="Of a Ray cluster; auto finds one here; empty starts one.")] = "",
    gpus_per_run: Annotated[float, typer.Option(help="With Ray: GPUs a run, or a share of one.")] = 1.0,
    accept_licence: Accept = False,
) -> None:  # fmt: skip
    """Train what a study lacks, and write its report."""
    from resnetlab.cli.work import choose_backend, run_study
    from resnetlab.training.numerics import Placement

    settings = [*settings, *(["data.skip_bad=true"] if skip_bad else [])]
    most = max_seeds if until_decided else None
    placement = Placement(workers=workers, gpus_per_run=gpus_per_run, abreast=abreast)
    chosen = choose_backend(backend, output, placement, address)
    raise typer.Exit(run_study(_load(source, data, settings, seeds, device), output, chosen, most, accept_licence))


@study.command("plan")
def study_plan(
    source: StudyName, data: DataSource = "", settings: Set = [], seeds: Seeds = "", output: Output = Path(),  # noqa: B006
    workers: Workers = 0, device: Device = "",
) -> None:  # fmt: skip
    """Say what a study will take and what its seeds can find; trains nothing."""
    from resnetlab.cli.work import show_plan

    show_plan(_load(source, data, settings, seeds, device), output, workers)


@study.command("status")
def study_status(
    source: Annotated[str, typer.Argument(help="A study, or the folder of its report.", metavar="STUDY")],
    data: DataSource = "", settings: Set = [], seeds: Seeds = "", output: Output = Path(), device: Device = "",  # noqa: B006
) -> None:  # fmt: skip
    """Say which runs of a study are finished, running, missing or waiting."""
    from resnetlab.cli.status import show_status

    folder, root = _begun(source, any((data, settings, seeds, device)), output)
    if folder is None:
        from resnetlab.studies.plan import folder_name

        plan = _load(source, data, settings, seeds, device).plan(output, lambda line: typer.echo(line, err=True))
        folder = output / "studies" / folder_name(plan)
    show_status(folder, root)


@study.command("report")
def study_report(
    source: Annotated[str, typer.Argument(help="A study, or the folder of its report.", metavar="STUDY")],
    data: DataSource = "", settings: Set = [], seeds: Seeds = "", output: Output = Path(), device: Device = "",  # noqa: B006
    latex: Annotated[bool, typer.Option("--latex", help="Beside it, as LaTeX with figures as PDF.")] = False,
) -> None:  # fmt: skip
    """Write the report again from the runs that are there."""
    loaded, plan, root = _find(source, data, settings, seeds, device, output)
    typer.echo(loaded.report(plan, root).report)
    if latex:
        typer.echo(loaded.latex(plan, root))


@study.command("list")
def study_list(
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown, with sources: docs/studies.md.")] = False,
) -> None:
    """Name the studies of the catalog."""
    from resnetlab.cli.listing import list_studies

    list_studies(markdown)


@study.command("check")
def study_check(
    source: StudyName, data: DataSource = "", settings: Set = [], seeds: Seeds = "",  # noqa: B006
) -> None:  # fmt: skip
    """Read a study file and tell every mistake; trains nothing."""
    from resnetlab.studies.claims import described

    found = _load(source, data, settings, seeds, "").study
    runs = len(found.conditions) * len(found.seeds)
    typer.echo(f"{source}: {len(found.conditions)} conditions x {len(found.seeds)} seeds = {runs} runs")
    for condition in found.conditions:
        typer.echo(f"  {condition.label}")
    for claim in found.claims:
        typer.echo(f"  claim: {claim.says} ({described(claim)})")


@study.command("new")
def study_new(
    question: Annotated[str, typer.Option(help="What the report will answer.")] = "",
    vary: Annotated[list[str], typer.Option(help="An axis: model.depth=20,56. May be repeated.",
                                            metavar="FIELD=VALUES")] = [],  # noqa: B006
    data: DataSource = "digits",
    recipe: Annotated[str, typer.Option(help="A recipe of the catalog, or a TOML file.", metavar="RECIPE")] = "adam",
    model: Annotated[str, typer.Option(help="Where no axis names one.", metavar="MODEL")] = "cifar-resnet20",
    seeds: Annotated[int, typer.Option(help="Seeds of each condition.", min=1, max=1000)] = 5,
    out: Annotated[Path, typer.Option(help="The file; its name is the study's.", metavar="FILE")] = Path("study.toml"),
) -> None:  # fmt: skip
    """Write a study file from options, or from answers; it passes `study check`."""
    from resnetlab.cli.new import asked
    from resnetlab.studies.new import Answers, write_study

    answers = Answers(question=question, vary=tuple(vary), data=data, recipe=recipe, seeds=seeds, model=model)
    if not vary:
        answers, out = asked(answers, out)
    write_study(answers, out)
    typer.echo(f"wrote {out}; next: {command_line(['resnetlab', 'study', 'check', str(out)])}")


@study.command("published")
def study_published(
    source: StudyName,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
) -> None:
    """What a study's networks cost and what is published of them; needs no data."""
    from resnetlab.cli.inspect import form_of
    from resnetlab.inspection.tables import render
    from resnetlab.studies.costs import rows
    from resnetlab.studies.spec import load_study

    form, found = form_of(json, csv, markdown), load_study(source)
    from resnetlab.models.count import cost  # torch, which a mistake does not wait for

    notes = ["Parameters and MACs are counted here; what is published was not measured here."]
    typer.echo(render(rows(found, cost), form, notes=notes))


app.command()(finetune)
app.command()(fixres)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A name such as cifar-resnet20; `resnetlab models` lists them.")],
    data: DataSource = "digits",
    recipe: Annotated[str, typer.Option(help="A recipe of the catalog, or a TOML file.", metavar="RECIPE")] = "cifar",
    settings: Set = [],  # noqa: B006
    epochs: Annotated[int | None, typer.Option(help="Short for --set recipe.epochs=N.")] = None,
    batch_size: Annotated[int | None, typer.Option("-b", "--batch-size", help="Images a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Full learning rate.")] = None,
    opt: Annotated[str | None, typer.Option(help="sgd, adam or adamw.")] = None,
    sched: Annotated[str | None, typer.Option(help="constant, step, exponential, cosine or one-cycle.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    img_size: Annotated[int | None, typer.Option(help="Side in pixels for a folder of photographs.")] = None,
    seed: Annotated[int, typer.Option(help="Names every random stream of the run.", min=0)] = 0,
    gradients: Annotated[
        str, typer.Option(help="Save norms by layer after these epochs; 0: before training.", metavar="EPOCHS")
    ] = "",
    drop_blocks: Annotated[bool, typer.Option("--drop-blocks", help="At the end, try it without each block.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time goes; keep a trace.")] = False,
    skip_bad: SkipBad = False,
    output: Output = Path(),
    device: Device = "",
) -> None:
    """Train one network."""
    from resnetlab.cli.work import train_one
    from resnetlab.inspection.measured import Instruments
    from resnetlab.training.numerics import Placement

    short = {
        "recipe.epochs": epochs, "recipe.batch_size": batch_size,
        "recipe.optimiser.name": opt, "recipe.optimiser.lr": lr, "recipe.optimiser.weight_decay": weight_decay,
        "recipe.schedule.name": sched, "data.image_size": img_size,
        "numerics.device": device or None, "data.skip_bad": "true" if skip_bad else None,
    }  # fmt: skip
    if not all(part.strip().isdigit() for part in gradients.split(",") if gradients):
        raise mistake("--gradients", "not a list of epochs", "--gradients 0,1,5", got=gradients)
    epochs_asked = tuple(dict.fromkeys(int(part) for part in gradients.split(",") if part))
    instruments = Instruments(gradients=epochs_asked, drop_blocks=drop_blocks)
    given = [f"{field}={value}" for field, value in short.items() if value is not None]
    raise typer.Exit(
        train_one(model, data, recipe, [*given, *settings], seed, instruments, output, Placement(profile=profile))
    )


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    from_step: Annotated[int | None, typer.Option("--from", help="A checkpoint's step; 0 starts again.", min=0)] = None,
    data: DataSource = "",
) -> None:
    """Go on with a run that was interrupted."""
    from resnetlab.cli.work import resume_one

    raise typer.Exit(resume_one(run, from_step, data or None))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A run's folder, or a quoted pattern: 'runs/*-plain56-*'.", metavar="A")],
    b: Annotated[str, typer.Argument(help="Likewise.", metavar="B")],
) -> None:
    """Set two sets of finished runs against each other."""
    from resnetlab.studies.compare import compare as compared
    from resnetlab.studies.compare import lines

    for line in lines(compared(a, b)):
        typer.echo(line)


@app.command()
def verify(
    result: Annotated[Path, typer.Argument(help="A folder with a report: results/digits.", metavar="RESULT")],
    cells: Annotated[int, typer.Option(help="Runs to repeat.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Draws which runs.", min=0)] = 0,
    data: DataSource = "",
    output: Annotated[
        Path | None, typer.Option("--output", help="Root of runs/; a temporary one unless given.", metavar="DIR")
    ] = None,
) -> None:
    """Repeat some runs of a report, and say whether they fall where it foresees."""
    from resnetlab.cli.work import verify_result

    raise typer.Exit(verify_result(result, output, cells, seed, data))


@app.command()
def models(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the networks, with parameters and cost."""
    from resnetlab.cli.listing import list_models

    list_models(json)


@app.command("import-weights")
def import_weights(
    file: Annotated[Path, typer.Argument(help="A .pth or .th of a well-known repository, or torchvision's.")],
    as_model: Annotated[str, typer.Option("--as", help="The network that it holds: cifar-resnet20, resnet50, ...")],
    out: Annotated[Path, typer.Option(help="Folder for the safetensors file.", metavar="DIR")] = Path(),
    licence: Annotated[str, typer.Option(help="Of the weights: Apache-2.0, CC-BY-NC-4.0, ...")] = "",
) -> None:
    """Turn the weights of others into a safetensors file."""
    from resnetlab.cli.loading import loading
    from resnetlab.models.names import named_model

    named_model(as_model, "--as", "")
    if not file.is_file():
        raise mistake(str(file), "no such file", "a .th, .pth or .pt file of weights")
    loading()
    from resnetlab.models.importing import import_weights as convert

    typer.echo(convert(file, as_model, out, licence))


def _load(source: str, data: str, settings: list[str], seeds: str, device: str) -> Any:
    from resnetlab.api import load_study

    settings = [*settings, *([f"numerics.device={device}"] if device else [])]
    return load_study(source, data=data or None, settings=settings, seeds=_seeds(seeds))


def _find(source: str, data: str, settings: list[str], seeds: str, device: str, output: Path) -> tuple[Any, Any, Path]:
    """A study with its plan and root: from the folder of its report, or by name."""
    folder, root = _begun(source, any((data, settings, seeds, device)), output)
    if folder is not None:
        from resnetlab.api import open_study

        return *open_study(folder), root
    loaded = _load(source, data, settings, seeds, device)
    return loaded, loaded.plan(output, lambda line: typer.echo(line, err=True)), output


def _begun(source: str, changed: bool, output: Path) -> tuple[Path | None, Path]:
    """The report's folder of a study that was begun, and its root; None where it must be planned first.

    A name alone finds what was begun under it, changed by a command or not; with several of that, its file decides.
    """
    from resnetlab.studies.standing import begun

    if (Path(source) / "plan.json").exists():
        return Path(source), Path(source).resolve().parent.parent
    if changed:
        return None, output
    found = begun(source, output)
    if not found.reported and len(found.changed) == 1:
        typer.echo(f"As it was begun in {found.changed[0]}", err=True)
        return found.changed[0], output
    for folder in found.changed:
        typer.echo(f"Also begun, changed by a command: {folder}", err=True)
    return found.planned, output


def _seeds(text: str) -> int | list[int] | None:
    if not text:
        return None
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts) or (len(parts) == 1 and not 1 <= int(text) <= 1000):
        raise mistake("--seeds", "not a number or a list of seeds", "--seeds 3, or --seeds 0,1,7", got=text)
    return int(text) if len(parts) == 1 else [int(part) for part in parts]


def main() -> None:
    """The entry point: every foreseen mistake is a line with its fix, and never a traceback."""
    for stream in (sys.stdout, sys.stderr):  # what a terminal or a file of another encoding cannot hold is escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    try:
        app(arguments, prog_name="resnetlab")
    except ResnetlabError as error:
        if debug:
            raise
        for problem in error.problems:
            print(f"resnetlab: error: {problem}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `resnetlab ... | head`
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        text = printable(f"{type(error).__name__}: {error}")
        print(f"resnetlab: error: unforeseen: {text}. Fix: give --debug to see where, and report it", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
