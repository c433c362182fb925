"""Fields in which the conditions of a study differ, as columns of tables of its runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from resnetlab.schema import encode
from resnetlab.shell import strip_folders
from resnetlab.studies.parsing.toml_tables import flatten
from resnetlab.studies.study import Condition
from resnetlab.table import Table

Cell = str | int | float | bool | None

UNLISTED_AXES = ("evaluation_mode", "rung")
"""Axes without a column here: tables have the mode as a column, and a rung is the condition."""

UNLISTED_FIELDS = ("data.sha256", "model.code", "model.license", "model.sha256")
"""Fields that identify a file and are no settings."""


def varied_fields(conditions: Sequence[Condition]) -> dict[str, dict[str, Cell]]:
    """Return the value of each condition in each field that differs, by field and by label.

    The names are those of `--set`: first the axes of the grid, such as `model.depth`, then other
    fields of the model, the data, the recipe and the numerics, such as `recipe.optimizer.lr`. The
    value is None where a condition has no such field; that of a list is its JSON.
    """
    fields = {condition.label: condition_fields(condition) for condition in conditions}
    axes = dict.fromkeys(axis for condition in conditions for axis in condition.values)
    names = dict.fromkeys([*axes, *(name for values in fields.values() for name in values)])
    table = {name: {label: fields[label].get(name) for label in fields} for name in names}
    return {name: values for name, values in table.items() if len(set(values.values())) > 1}


def row_table(
    row_type: type[Any],
    rows: Sequence[Any],
    conditions: Sequence[Condition] = (),
    title: str = "",
) -> Table:
    """Return rows of runs as a table. The fields in which the conditions differ follow `seed`.

    Only a study with two modes of evaluation has a column for the mode. Imported runs have a column
    for their value, and no column that is empty in all rows.

    Args:
        row_type: Dataclass of the rows, which may be none.
        rows: Rows of the table.
        conditions: Conditions of the rows.
        title: Content of the table in a few words.
    """
    fields = dataclasses.fields(row_type)
    names = [field.name for field in fields]
    if all(getattr(row, "evaluation_mode", "eval") == "eval" for row in rows):
        names = [name for name in names if name != "evaluation_mode"]
    if any(getattr(row, "value", None) is not None for row in rows):
        names = [
            field.name
            for field in fields
            if any(getattr(row, field.name) != field.default for row in rows)
        ]
    else:
        names = [name for name in names if name != "value"]
    columns: dict[str, list[Any]] = {}
    for name in names:
        columns[name] = [getattr(row, name) for row in rows]
        if name == "seed":
            columns |= {
                field: [values.get(row.condition) for row in rows]
                for field, values in varied_fields(conditions).items()
            }
    return Table(columns, title)


def condition_fields(condition: Condition) -> dict[str, Cell]:
    """Return the settings of a condition by their names in `--set`, and its values on the axes of
    a grid. The value of a list is its JSON, and a path has no folder.
    """
    parts = {"model": condition.model, "data": condition.data, "recipe": condition.recipe}
    tables = {name: encode(part) for name, part in parts.items()}
    if condition.numerics is not None:
        tables["numerics"] = encode(condition.numerics)
    depth = getattr(condition.model, "depth", None)
    fields = {"model.depth": depth} | flatten(tables)
    axes = {name: value for name, value in condition.values.items() if name not in UNLISTED_AXES}
    scalars = {name: value for name, value in axes.items() if not isinstance(value, Mapping)}
    return {
        name: _cell(value)
        for name, value in (scalars | fields).items()
        if not name.startswith(UNLISTED_FIELDS)
    }


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return strip_folders(value)
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    scalar: Cell = value
    return scalar
