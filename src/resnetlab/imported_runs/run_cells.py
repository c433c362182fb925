"""Cells of a table that belong to a run, and checks that they are those of one run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from resnetlab.errors import input_error
from resnetlab.imported_runs.columns import Columns
from resnetlab.imported_runs.raw_table import RUN_COLUMN, RawTable, Row, cell_text
from resnetlab.messages import format_count


@dataclass(frozen=True)
class RunCell:
    """Values of a row that belongs to a run."""

    row: Row
    condition: str
    key: str
    value: object
    epoch: float | None
    status: str
    fold: str
    name: str = ""
    """Name of the run; empty without one."""
    is_numbered: bool = False
    """True if the key is a number by order, because the row has no seed and no fold."""


def check_different_runs(table: RawTable, columns: Columns, cells: Sequence[RunCell]) -> None:
    """Raise InputError if rows with epochs may be epochs of one run, or runs.

    Rows without seeds are distinguished by the names of their runs. That fails if all rows of a
    condition have one name, or none, unless it is another name than that of the condition and the
    epochs rise from 0 or 1. A reader that knows which rows are one run says so.
    """
    rows: dict[str, list[RunCell]] = {}
    for cell in cells:
        if cell.is_numbered and not cell.row.run:
            rows.setdefault(cell.condition, []).append(cell)
    for condition, of_condition in rows.items():
        names = {cell.name for cell in of_condition}
        if len(of_condition) == 1 or len(names) > 1:
            continue
        name = names.pop()
        epochs = [-1.0 if cell.epoch is None else cell.epoch for cell in of_condition]
        rises = all(before < after for before, after in itertools.pairwise(epochs))
        if name not in ("", condition) and rises and epochs[0] <= 1:
            continue  # the learning curve of one run
        message = f"{len(of_condition)} rows of {condition} with epochs, but without seeds"
        fix = f"--seed COLUMN; or --ignore {columns.epoch}, if each row is a run"
        if name == condition:
            fix = f"--seed COLUMN; or names of runs with a seed, such as {name}/seed0"
        elif name:
            message += f", and with one name of a run, {name}"
            fix = f"--seed COLUMN; or --seed {RUN_COLUMN}, if they are epochs of one run"
        raise input_error(
            table.where,
            f"{message}: they may be epochs of one run, or runs",
            fix,
            field=f"{of_condition[0].row.origin} to {of_condition[-1].row.origin}",
        )


def check_one_run(table: RawTable, columns: Columns, group: Sequence[RunCell]) -> None:
    """Raise InputError if the rows of a condition and a seed are those of several runs."""
    origins = {cell.row.run: cell.row.origin for cell in group}
    if len(origins) > 1:
        key = (
            "seed and fold" if columns.seed and columns.fold else "fold" if columns.fold else "seed"
        )
        message = f"{len(origins)} runs of {group[0].condition} with the same {key}, {group[0].key}"
        fix = f"give each run its own {key}, or leave runs out by --where COLUMN=VALUE"
        field = " and ".join([*origins.values()][:4])
        more = f" and {len(origins) - 4} more" if len(origins) > 4 else ""
        raise input_error(table.where, message, fix, field=field + more)


def check_epochs(table: RawTable, ordered: Sequence[RunCell]) -> None:
    """Raise InputError for two rows of a run with one epoch, or for a row without an epoch."""
    for before, cell in itertools.pairwise(ordered):
        if cell.epoch == before.epoch or before.epoch is None:
            epoch = "no epoch" if before.epoch is None else f"epoch {before.epoch:g}"
            message = f"two rows of {cell.condition}, run {cell.key}, {epoch}"
            fix = "keep one of them, or give the runs different seeds"
            raise input_error(
                table.where, message, fix, field=f"{before.row.origin} and {cell.row.origin}"
            )


def order_by_epoch(group: Sequence[RunCell]) -> list[RunCell]:
    """Return the cells of a run in the order of their epochs."""
    return sorted(group, key=lambda cell: -1.0 if cell.epoch is None else cell.epoch)


def last_empty_rows(table: RawTable, groups: Sequence[Sequence[RunCell]]) -> list[str]:
    """Return a sentence if the last rows of a run have no value.

    An empty cell may be an epoch without an evaluation, or NaN as pandas writes it. It is NaN
    rather than a missing evaluation if other runs of the condition have values at these epochs.

    Args:
        table: Table of the runs, for errors.
        groups: Cells of each run.

    Raises:
        InputError: Other runs of it have values there, and no status says how the run ended.
    """
    evaluated: dict[str, set[float | None]] = {}
    for group in groups:
        epochs = {cell.epoch for cell in group if cell_text(cell.value)}
        evaluated.setdefault(group[0].condition, set()).update(epochs)
    open_runs = []
    for group in groups:
        ordered = order_by_epoch(group)
        last = max((k for k, cell in enumerate(ordered) if cell_text(cell.value)), default=None)
        if last is None or last == len(ordered) - 1 or any(cell.status for cell in ordered[last:]):
            continue
        empty = ordered[last + 1 :]
        start = empty[0]
        origins = dict.fromkeys((start.row.origin, empty[-1].row.origin))
        run = f"{start.condition}, run {start.key}"
        if any(cell.epoch in evaluated[start.condition] for cell in empty):
            raise input_error(
                table.where,
                f"no value of {run} from epoch {start.epoch:g} on, and other runs have one there: "
                "it may have diverged, or ended earlier",
                "write diverged in the last row of the run, or leave its rows without a value out",
                field=" to ".join(origins),
            )
        open_runs.append(f"{run} from epoch {start.epoch:g} on")
    if not open_runs:
        return []
    runs = format_count(len(open_runs), "run")
    more = ", ..." if open_runs[1:] else ""
    meaning = (
        "An empty cell is an epoch without an evaluation; a run that became NaN needs the word "
        "diverged in its last row."
    )
    return [f"Without a value in the last rows: {runs} ({open_runs[0]}{more}).", meaning]
