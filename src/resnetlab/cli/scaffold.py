"""Questions of `resnetlab study new` in a terminal."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import typer

from resnetlab.errors import InputError, input_error
from resnetlab.studies.scaffold import StudyOptions, parse_axes


def prompt_answers(answers: StudyOptions, out: Path) -> tuple[StudyOptions, Path]:
    """Ask the user for the parts of a study and repeat a question after an invalid answer.

    Raises InputError if there is no terminal.
    """
    if not sys.stdin.isatty():
        raise input_error(
            "--vary", "missing", "--vary model.depth=20,56, or answer questions in a terminal"
        )
    question = typer.prompt(
        "What do you want to know?", default=answers.question or "Does depth help?"
    )
    typer.echo(
        "What varies? One field and its values a line; an empty line ends. "
        "model.shortcut=none,A is another."
    )
    vary = [_prompt_axis("model.depth=8,20")]
    while line := _prompt_axis(""):
        vary.append(line)
    return replace(
        answers,
        question=question,
        vary=tuple(vary),
        data=typer.prompt("On which data? (a name, an .npz, a folder)", default=answers.data),
        recipe=typer.prompt(
            "Trained how? (digits, adam, cifar, ... or a file)", default=answers.recipe
        ),
        seeds=typer.prompt("How many seeds?", default=answers.seeds, type=int),
    ), Path(typer.prompt("Into which file?", default=str(out)))


def _prompt_axis(default: str) -> str:
    while True:
        line: str = typer.prompt("  vary", default=default, show_default=bool(default)).strip()
        try:
            parse_axes([line] if line else [])
        except InputError as error:
            typer.echo(str(error))
        else:
            return line
