"""Questions of `resnetlab judge` in a terminal: a claim, for a command without one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resnetlab.errors import escape_controls
from resnetlab.messages import truncate_lines

if TYPE_CHECKING:
    from resnetlab.imported_runs.columns import Columns
    from resnetlab.imported_runs.declaration import Declaration
    from resnetlab.imported_runs.raw_table import RawTable

MAX_LISTED = 30
"""Number of names that a question lists."""


@dataclass
class Answers:
    """Answers as fields of a declaration, and as words of a command line."""

    fields: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def add(self, name: str, value: Any, *words: str) -> None:
        """Add a field and the words that declare it."""
        self.fields[name] = value
        self.words += words


def prompt_claim(source: Path, declaration: Declaration) -> Answers:
    """Ask for the columns that are not recognized, and for a claim. No value is shown before.

    A table of means asks for nothing: its values are its rows.

    A question is repeated after an invalid answer. Without a method there is no claim.

    Raises:
        InputError: The table cannot be read.
    """
    from resnetlab.imported_runs.imported_study import import_runs
    from resnetlab.imported_runs.open_table import open_table
    from resnetlab.imported_runs.raw_table import select_rows
    from resnetlab.imported_runs.summaries import has_summaries

    table = select_rows(open_table(source, declaration.value), declaration.where)
    answers = Answers()
    if has_summaries(table, declaration):
        return answers
    columns = _prompt_columns(table, declaration, answers)
    declaration = replace(declaration, **answers.fields)
    imported = import_runs(table, replace(declaration, where=())).study.imported
    assert imported is not None
    conditions = imported.conditions
    if len(conditions) < 2:
        return answers
    typer.echo("Claims are declared before the values are seen. Conditions:")
    _print_names(conditions)
    method = _prompt_name("Your method (number or name; empty: only describe the runs)", conditions)
    if not method:
        return answers
    others = [name for name in conditions if name != method]
    baseline = others[0]
    if len(others) > 1:
        typer.echo("Baselines:")
        _print_names(others)
        baseline = _prompt_name("Baseline (number or name)", others, required=True)
    claim = _prompt_kind(method, baseline, imported.measure.unit)
    answers.add("claims", (claim,), "--claim", claim)
    _prompt_pairs(columns, declaration, answers)
    return answers


def _prompt_columns(table: RawTable, declaration: Declaration, answers: Answers) -> Columns:
    """Return the columns by their meaning; ask for the one of conditions or values if needed."""
    from resnetlab.imported_runs.columns import UnclearColumnError, find_columns

    while True:
        try:
            return find_columns(table, replace(declaration, **answers.fields))
        except UnclearColumnError as error:
            if error.option in answers.words:
                raise
            typer.echo("Columns of the table:")
            _print_names(error.columns)
            text = (
                "Column that names the condition"
                if error.option == "--condition"
                else ("Column of the values")
            )
            column = _prompt_name(f"{text} (number or name)", error.columns, required=True)
            if error.option == "--condition":
                answers.add("condition", (column,), error.option, column)
            else:
                answers.add("value", column, error.option, column)


def _prompt_kind(method: str, baseline: str, unit: str) -> str:
    """Ask how the method compares with the baseline, and return the claim as text."""
    from resnetlab.imported_runs.claim_text import quoted_name

    amount = "points" if unit == "%" else "units of the values"
    kinds = ("better", "better by more than a margin", "equal within a margin")
    typer.echo(f"{escape_controls(method)} is, compared with {escape_controls(baseline)}:")
    _print_names(kinds)
    kind = _prompt_name("Claim (number)", kinds, default="1", required=True)
    method, baseline = quoted_name(method), quoted_name(baseline)
    if kind == kinds[0]:
        return f"{method} > {baseline}"
    margin = _prompt_margin(f"Margin in {amount}")
    return (
        f"{method} > {baseline} + {margin}"
        if kind == kinds[1]
        else f"{method} = {baseline} within {margin}"
    )


def _prompt_margin(text: str) -> str:
    from resnetlab.imported_runs.claim_text import NUMBER

    def check(answer: str) -> str:
        number = answer.replace(",", ".")
        if not re.fullmatch(NUMBER, number) or float(number) <= 0:
            raise ValueError("not a positive number, such as 0.5")
        return number

    return _prompt(text, check)


def _prompt_pairs(columns: Columns, declaration: Declaration, answers: Answers) -> None:
    """Ask what the runs of a pair share, if the table has seeds or folds and no design."""
    names = [name for name in ("seed", "fold") if getattr(columns, name)]
    if declaration.paired_by or not names:
        return
    typer.echo(
        "Runs are pairs if they share more than a number, such as the split of the data or the "
        "initial checkpoint:"
    )
    choices = ["no pairs", *(f"the same {name}" for name in names)]
    _print_names(choices)
    choice = _prompt_name("Pairs (number)", choices, default="1", required=True)
    if choice != choices[0]:
        name = choice.removeprefix("the same ")
        answers.add("paired_by", name, "--paired-by", name)


def _prompt_name(text: str, names: Sequence[str], default: str = "", required: bool = False) -> str:
    """Ask for one of the names, by its number or itself; empty without an answer."""

    def check(answer: str) -> str:
        if answer in names:
            return answer
        if answer.isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        same = [name for name in names if name.lower() == answer.lower()]
        if len(same) != 1 and (answer or required):
            raise ValueError(f"not a number from 1 to {len(names)} or a name of the list")
        return same[0] if answer else ""

    return _prompt(text, check, default)


def _prompt(text: str, check: Callable[[str], str], default: str = "") -> str:
    """Ask until `check` returns the answer instead of raising ValueError."""
    while True:
        answer = typer.prompt(text, default=default, show_default=bool(default)).strip()
        try:
            return check(answer)
        except ValueError as error:
            typer.echo(f"{error}; the answer was {escape_controls(answer)!r}.")


def _print_names(names: Sequence[str]) -> None:
    width = len(str(len(names)))
    lines = [f"  {k:>{width}}  {escape_controls(name)}" for k, name in enumerate(names, 1)]
    for line in truncate_lines(lines, MAX_LISTED):
        typer.echo(line)
