"""Published values of every run after every epoch, from a CSV file beside the published numbers.

Free of torch.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from resnetlab.errors import InputError, Problem, input_error, suggest
from resnetlab.schema_errors import FieldError
from resnetlab.studies.published.references import ReferenceSource, ReferenceValue

COLUMNS = ("model", "run", "epoch", "test_accuracy_pct", "test_loss_nats")
"""Columns of a file of runs: network, run and epoch (from 1), accuracy in percent, loss in nats."""

_COLUMN_OF = {"accuracy": "test_accuracy_pct", "loss": "test_loss_nats"}

Runs = Mapping[str, Mapping[str, tuple[tuple[float, ...], ...]]]
"""Curves of all runs, by network and column."""


def with_run_curves(source: ReferenceSource, file: str) -> ReferenceSource:
    """Return a source with the curves of the runs of its values, from its `runs_file`.

    Args:
        source: Published numbers of `file`.
        file: Path of the TOML file, or its name in the catalog.

    Raises:
        InputError: The file of runs is missing or damaged, or disagrees with the numbers.
    """
    named = [value for value in source.value if value.runs_of]
    if not source.runs_file:
        if named:
            message, fix = "given without a file of runs", 'runs_file = "runs.csv"'
            raise input_error(file, message, fix, field="value.runs_of", got=named[0].runs_of)
        return source
    runs = _read_runs(source.runs_file, file)
    problems: list[Problem] = []
    values = []
    for index, value in enumerate(source.value):
        field = f"value[{index}]"
        try:
            values.append(_with_curves(value, runs) if value.runs_of else value)
        except FieldError as error:
            problems.append(Problem(file, error.message, error.fix, field=f"{field}.{error.field}"))
    if problems:
        raise InputError(*problems)
    return replace(source, value=tuple(values))


def _with_curves(value: ReferenceValue, runs: Runs) -> ReferenceValue:
    """Return a value with the curves of its runs. Raises FieldError if they disagree with it."""
    if value.runs_of not in runs:
        known = ", ".join(runs)
        fix = suggest(value.runs_of, runs) or f"one of {known}"
        raise FieldError("runs_of", f'no network "{value.runs_of}" in the file of runs', fix)
    column = _COLUMN_OF.get(value.quantity)
    if column is None or value.split != "test":
        raise FieldError("runs_of", "the file of runs has test accuracies and losses", "remove it")
    curves = runs[value.runs_of][column]
    last = tuple(curve[-1] for curve in curves)
    if value.run_values and last != value.run_values:
        raise FieldError(
            "run_values", f"the last epoch in the file of runs is {list(last)}", "correct one"
        )
    return replace(value, run_curves=curves)


def _read_runs(name: str, file: str) -> Runs:
    """Read a file of runs. Raises InputError if it is missing or damaged."""
    beside = Path(file).parent / name
    packaged = resources.files("resnetlab.catalog") / "references" / name
    path = beside if beside.is_file() else packaged
    if not path.is_file():
        fix = "put it beside the published numbers"
        raise input_error(file, "no such file of runs", fix, field="runs_file", got=name)
    table: dict[str, dict[int, list[tuple[float, float]]]] = {}
    with path.open(encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            fix = f"the first line {','.join(COLUMNS)}"
            raise input_error(name, "other columns", fix, got=",".join(reader.fieldnames or ()))
        for row in reader:
            where = f"{name}, line {reader.line_num}"
            try:
                run, epoch = int(row["run"]), int(row["epoch"])
                pair = (float(row["test_accuracy_pct"]), float(row["test_loss_nats"]))
            except (TypeError, ValueError):
                raise input_error(where, "not five values", "CNN20,1,1,49.72,1.37149") from None
            curve = table.setdefault(row["model"], {}).setdefault(run, [])
            if epoch != len(curve) + 1:
                fix = f"epoch {len(curve) + 1} of run {run} of {row['model']}"
                raise input_error(where, "epochs are not in order", fix, field="epoch", got=epoch)
            curve.append(pair)
    for model, of_model in table.items():
        if len({len(curve) for curve in of_model.values()}) > 1:
            fix = "give every run every epoch"
            raise input_error(name, f"runs of {model} have different numbers of epochs", fix)
    return {
        model: {
            column: tuple(tuple(pair[i] for pair in curve) for curve in of_model.values())
            for i, column in enumerate(COLUMNS[3:])
        }
        for model, of_model in table.items()
    }
