"""Command line of resnetlab: its groups of commands, and the messages of its errors.

Heavy imports stay inside the commands, so that help is instant.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from resnetlab import trust
from resnetlab.cli import compare, models, train, watch
from resnetlab.cli.common import (
    EXIT_CODES,
    INTERNAL_ERROR,
    RENAMED,
    VERBOSITY,
    add_common_options,
    add_torch_check,
    notify,
)
from resnetlab.cli.course import course
from resnetlab.cli.curation.commands import extend
from resnetlab.cli.data.commands import data
from resnetlab.cli.deploy.evaluate import ensemble, evaluate
from resnetlab.cli.deploy.explain import explain
from resnetlab.cli.deploy.export import export
from resnetlab.cli.deploy.predict import predict
from resnetlab.cli.deploy.serve import serve
from resnetlab.cli.doctor import doctor
from resnetlab.cli.finetune.command import finetune
from resnetlab.cli.finetune.fixres import fixres
from resnetlab.cli.inspect import inspect
from resnetlab.cli.judge.command import judge
from resnetlab.cli.output_paths import explain_path_error
from resnetlab.cli.study.commands import study
from resnetlab.errors import ResnetlabError, escape_controls, input_error
from resnetlab.files import disk_errors_as_resource_error
from resnetlab.torch_check import TRAIN_PACKAGES, missing_package_error

SECTIONS = {
    "Experiments": ("study", "watch", "train", "resume", "compare", "judge", "verify"),
    "Your photographs": ("finetune", "fixres", "extend", "data"),
    "Trained models": ("predict", "evaluate", "ensemble", "explain", "export", "serve"),
    "Networks": ("models", "inspect", "import-weights"),
    "Learning": ("course",),
    "This machine": ("doctor",),
}
"""Commands by section of the help."""

COMMANDS: tuple[Callable[..., None], ...] = (
    watch.watch,
    train.train,
    train.resume,
    compare.compare,
    judge,
    compare.verify,
    finetune,
    fixres,
    extend,
    predict,
    evaluate,
    ensemble,
    explain,
    export,
    serve,
    models.models,
    models.import_weights,
    doctor,
)

EPILOG = (
    "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."
)


class _Group(TyperGroup):
    """Group of commands that prints its help, without an error, if no command is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])


USAGE_ERROR: type[Any] = typer.BadParameter.__mro__[1]
"""Class of the errors about the words of a command, for which typer exports no name."""


@contextlib.contextmanager
def _usage_errors_as_input_errors() -> Iterator[None]:
    """Turn an unknown option, or a value that is not allowed, into an InputError."""
    try:
        yield
    except USAGE_ERROR as error:
        command = error.ctx.command_path if error.ctx else "resnetlab"
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        raise input_error("", message.rstrip("."), f"{command} -h lists what it takes") from None


class _SectionedGroup(_Group):
    """Group of all commands: its help has sections by purpose, and its errors are one line."""

    def make_context(self, *values: Any, **options: Any) -> Any:
        with _usage_errors_as_input_errors():
            return super().make_context(*values, **options)

    def invoke(self, ctx: Any) -> Any:
        with _usage_errors_as_input_errors():
            return super().invoke(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, names in SECTIONS.items():
            with formatter.section(title):
                commands = [(name, self.get_command(ctx, name)) for name in names]
                formatter.write_dl(
                    [
                        (name, command.get_short_help_str(80))
                        for name, command in commands
                        if command
                    ]
                )


app = typer.Typer(
    cls=_SectionedGroup,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
    help="Controlled experiments with residual networks for image classification.\n\n"
    "Start with:  resnetlab study run digits",
)
for group, name in ((study, "study"), (data, "data"), (inspect, "inspect"), (course, "course")):
    group.info.cls = _Group
    app.add_typer(group, name=name)
for command in COMMANDS:
    app.command()(command)


def _version(value: bool) -> None:
    if value:
        import resnetlab

        typer.echo(f"resnetlab {resnetlab.__version__}")
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


def build_command() -> Callable[..., Any]:
    """Build the command line, with the common options of all commands."""
    command: Callable[..., Any] = typer.main.get_command(app)
    add_common_options(command)
    add_torch_check(command)
    return command


def main() -> None:
    """Run the command line.

    Print every expected error as one line with its fix, without a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Escape characters that the encoding of the output lacks.
            stream.reconfigure(errors="backslashreplace")
    VERBOSITY.quiet = VERBOSITY.verbose = False
    trust.reset(notify)
    try:
        _add_current_folder_to_path()
        _check_renamed(sys.argv[1:])
        with disk_errors_as_resource_error(Path("standard output or a file")):
            build_command()(sys.argv[1:], prog_name="resnetlab")
    except ResnetlabError as error:
        if VERBOSITY.verbose:
            raise
        for line in str(error).splitlines():  # at most twenty problems, and a count of the others
            print(f"resnetlab: error: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("resnetlab: interrupted", file=sys.stderr)
        sys.exit(130)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # `resnetlab ... | head`, seen by click
            sys.exit(0)
        if end.__context__ and isinstance(end.__context__.__cause__, KeyboardInterrupt):
            print("resnetlab: interrupted", file=sys.stderr)  # Typer ends without a word
        raise
    except BrokenPipeError:  # `resnetlab ... | head`
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if VERBOSITY.verbose:
            raise
        if isinstance(error, OSError) and (path_error := explain_path_error(error)):
            print(f"resnetlab: error: {path_error}", file=sys.stderr)
            sys.exit(path_error.exit_code)
        package = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and package in TRAIN_PACKAGES:
            missing = missing_package_error(package)
            print(f"resnetlab: error: {missing}", file=sys.stderr)
            sys.exit(missing.exit_code)
        text = escape_controls(f"{type(error).__name__}: {error}")
        fix = "find the cause with --verbose, and report it"
        print(f"resnetlab: error: unexpected {text}. Fix: {fix}", file=sys.stderr)
        sys.exit(INTERNAL_ERROR)


def _check_renamed(words: Sequence[str]) -> None:
    """Raise InputError for a command or an option that has another name now."""
    for old in (" ".join(words[:2]), *(word.partition("=")[0] for word in words)):
        if new := RENAMED.get(old):
            raise input_error(old, "was renamed", new)


def _add_current_folder_to_path() -> None:
    """Add the current folder to the end of `sys.path`, so that `resnetlab train mynet:tiny` finds
    mynet.py. Raises InputError if somebody removed that folder.
    """
    try:
        folder = str(Path.cwd())
    except FileNotFoundError:
        message, fix = "does not exist any more", "change to a folder that exists"
        raise input_error("the current folder", message, fix) from None
    if not sys.flags.safe_path and folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)


if __name__ == "__main__":
    main()
