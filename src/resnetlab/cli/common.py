"""Common parts of all commands: options, messages, JSON output, pages in a browser, exit codes.

Fast to import.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from resnetlab.cli import completion
from resnetlab.signals import StopSignal
from resnetlab.torch_check import check_torch
from resnetlab.trust import trust_files

DONE, INTERNAL_ERROR, BAD_INPUT, UNFINISHED, OUT_OF_RESOURCES, CHECK_FAILED = range(6)

EXIT_CODES = {
    DONE: "done",
    INTERNAL_ERROR: "an unexpected error of resnetlab",
    BAD_INPUT: "an option, a file or the data are invalid; nothing was started",
    UNFINISHED: "unfinished: a run has no result, or some files could not be read",
    OUT_OF_RESOURCES: "the disk is full, or memory ran out",
    CHECK_FAILED: "a check failed: verify, data check, doctor, course, study collect",
    130: "interrupted by Ctrl-C (143: by SIGTERM); the same command continues",
}
"""Exit codes of every command, with their meaning."""

RENAMED = {
    "study published": "resnetlab study references",
    "inspect drop-blocks": "resnetlab inspect block-ablation",
    "inspect family": "resnetlab inspect table",
    "inspect fully-conv": "resnetlab inspect fully-convolutional",
    "--abreast": "--parallel-seeds",
    "--accept-licence": "--accept-license",
    "--cells": "--runs",
    "--drop-blocks": "--ablate-blocks",
    "--from": "--from-step",
    "--gradients": "--gradient-norms",
    "--mend": "--repair",
    "--picture": "--preview",
    "--shares": "--fractions",
    "--sort-by": "--sort-mode",
    "--strangers": "--ood",
}
"""New names of commands and options, by their old names."""

Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON (keys: docs/command-line.md).")
]
PageLanguage = Annotated[
    str,
    typer.Option(
        "--lang",
        help="Language of the page: en or fr. Default: that of the locale (LC_ALL, LC_MESSAGES, "
        "LANG), else en.",
        metavar="LANGUAGE",
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="Device: auto, cpu, cuda, cuda:1 (the second GPU) or mps.",
        metavar="DEVICE",
        autocompletion=completion.devices,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan without training.")]
OutputDir = Annotated[
    Path,
    typer.Option(
        "--output",
        help="Folder of all files: runs/, studies/, models/, reports/, cache/ and others.",
        metavar="DIR",
    ),
]
"""Option `--output`, the folder of all files.

The option `--out` is the file or folder of one result.
"""
DataSource = Annotated[
    str,
    typer.Option(
        "--data",
        help="Data set: digits, cifar10, ..., an .npz file, or a folder of images.",
        metavar="DATA",
    ),
]
SettingsOption = Annotated[
    list[str],
    typer.Option(
        "--set", help="Change a field: recipe.epochs=2. May be repeated.", metavar="FIELD=VALUE"
    ),
]
Track = Annotated[
    list[str],
    typer.Option(
        "--track",
        help="Copy the runs to tensorboard, mlflow, wandb or trackio. May be repeated.",
        metavar="TRACKER",
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Skip the damaged files of a folder of images.")
]
FollowLinksChoice = Literal["no", "inside", "anywhere"]
FollowLinksOption = Annotated[
    FollowLinksChoice,
    typer.Option(
        "--follow-links",
        help="Links in a folder of images to follow: no, inside (the folder) or anywhere.",
        metavar="WHERE",
    ),
]
PathColumn = Annotated[
    str, typer.Option("--path-column", help="Column of labels.csv with the paths.", metavar="NAME")
]
LabelColumn = Annotated[
    str,
    typer.Option("--label-column", help="Column of labels.csv with the classes.", metavar="NAME"),
]
Nested = Annotated[
    bool,
    typer.Option("--nested", help="Take the images in sub-folders of a class's folder too."),
]
GroupOption = Annotated[
    str,
    typer.Option(
        "--group",
        help="Images that a drawn split keeps together: folder, regex:PATTERN, column:NAME (of "
        "labels.csv) or exif-time:MINUTES.",
        metavar="RULE",
    ),
]
AcceptLicense = Annotated[
    bool,
    typer.Option("--accept-license", help="Accept weights whose license forbids commercial use."),
]
RecipeName = Annotated[
    str,
    typer.Option(
        help="Name of a recipe in the catalog, or a TOML file.",
        metavar="RECIPE",
        autocompletion=completion.recipes,
    ),
]


@dataclass
class Verbosity:
    """Verbosity of this process, apart from its result."""

    quiet: bool = False
    verbose: bool = False


VERBOSITY = Verbosity()


def notify(line: str) -> None:
    """Print a line that is not the result to standard error, unless `--quiet` was given."""
    if not VERBOSITY.quiet:
        print(line, file=sys.stderr, flush=True)


def stop_signal(message: str = "Stopping: each run writes a checkpoint.") -> StopSignal:
    """Return the flag of Ctrl-C and SIGTERM, whose first one prints `message`."""
    return StopSignal(on_first=lambda: notify(f"\n{message}"))


def check_device(device: str) -> None:
    """Raise InputError for an invalid name of a device, before torch is imported.

    An empty name means `auto`.
    """
    from resnetlab.recipes.numerics import parse_device

    if device:
        parse_device(device)


def print_json(value: Any) -> None:
    """Print a result as JSON to standard output."""
    from resnetlab.schema import to_json

    typer.echo(to_json(value, 1))


def open_page(page: Path | str) -> bool:
    """Open a page in the browser and return True; without a browser, print its path."""
    address = page if isinstance(page, str) else page.resolve().as_uri()
    if _has_browser():
        import webbrowser

        if webbrowser.open(address):
            return True
    notify(f"No browser here. Open the page yourself: {page}")
    return False


def _has_browser() -> bool:
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return False
    if os.environ.get("BROWSER") or sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _set_quiet(value: bool) -> None:
    VERBOSITY.quiet = VERBOSITY.quiet or value


def _set_verbose(value: bool) -> None:
    VERBOSITY.verbose = VERBOSITY.verbose or value


def _common_options(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print only errors and the result.",
            callback=_set_quiet,
            is_eager=True,
            expose_value=False,
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "--debug",
            help="Print the Python traceback of an error.",
            callback=_set_verbose,
            is_eager=True,
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Declare the common options of all commands."""


def _trust_files(value: bool) -> None:
    if value:
        trust_files()


def _code_option(
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help="Run the code (package.module:function) that the given files name.",
            callback=_trust_files,
            is_eager=True,
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Declare the option of commands that build networks which files name."""


CODE_COMMANDS = (
    *("train", "resume", "verify", "finetune", "fixres", "extend"),
    *("data suspects", "data enough"),
    *("predict", "evaluate", "ensemble", "explain", "export", "serve"),
    *("study run", "study plan", "study report"),
    *("inspect model", "inspect gradients", "inspect filters", "inspect block-ablation"),
    *("inspect fully-convolutional",),
)
"""Commands that may build a network which a file names."""


TORCH_COMMANDS = (
    *("train", "resume", "verify", "finetune", "fixres", "extend", "import-weights"),
    *("predict", "evaluate", "ensemble", "explain", "export", "serve", "study run"),
)
"""Commands that do nothing without torch. Others need it for some of their options."""


def add_torch_check(command: Any) -> None:
    """Let the commands that need torch end with one line, before any work, if it is missing."""
    for name in TORCH_COMMANDS:
        _check_torch_first(_find_command(command, name))


def _check_torch_first(command: Any) -> None:
    invoke = command.invoke

    def check_and_invoke(context: Any) -> Any:
        if not context.params.get("dry_run"):
            check_torch()
        return invoke(context)

    command.invoke = check_and_invoke


def _find_command(command: Any, name: str) -> Any:
    group, _, inner = name.rpartition(" ")
    return (command.commands[group] if group else command).commands[inner]


def add_common_options(command: Any) -> None:
    """Add `--quiet` and `--verbose` to a command and to all commands below it, and `--trust-code`
    to those that build networks.
    """
    _add_options(command, _options_of(_common_options))
    for name in CODE_COMMANDS:
        _find_command(command, name).params.extend(_options_of(_code_option))


def _options_of(declaration: Any) -> list[Any]:
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command()(declaration)
    return list(typer.main.get_command(single).params)


def _add_options(command: Any, options: list[Any]) -> None:
    command.params.extend(options)
    for below in getattr(command, "commands", {}).values():
        _add_options(below, options)
