"""Questions of `resnetlab study new` in a terminal."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import typer

from resnetlab.errors import InputError, input_error
from resnetlab.studies.scaffold import StudyOptions, parse_axes


def prompt_options(options: StudyOptions, out: Path) -> tuple[StudyOptions, Path]:
    """Ask the user for the parts of a study, with `options` as defaults.

    A question is repeated after an invalid answer. Raises InputError if there is no terminal.
    """
    if not sys.stdin.isatty():
        fix = "--vary model.depth=20,56, or answer the questions in a terminal"
        raise input_error("--vary", "missing", fix)
    question = typer.prompt("Question of the study", default=options.question or "Does depth help?")
    typer.echo(
        "Fields to vary: one per line with its values, such as model.shortcut=none,A. "
        "An empty line ends the list."
    )
    vary = [_prompt_axis("model.depth=8,20")]
    while line := _prompt_axis(""):
        vary.append(line)
    return replace(
        options,
        question=question,
        vary=tuple(vary),
        data=typer.prompt("Data (a name, an .npz file or a folder)", default=options.data),
        recipe=typer.prompt("Recipe (digits, adam, cifar, ... or a file)", default=options.recipe),
        seeds=typer.prompt("Number of seeds", default=options.seeds, type=int),
    ), Path(typer.prompt("File to write", default=str(out)))


def _prompt_axis(default: str) -> str:
    while True:
        line: str = typer.prompt("  vary", default=default, show_default=bool(default)).strip()
        try:
            parse_axes([line] if line else [])
        except InputError as error:
            typer.echo(str(error))
        else:
            return line
