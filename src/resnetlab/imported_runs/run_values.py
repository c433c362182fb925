"""Runs of a table: the condition, the key, the status, the value and the curve of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from resnetlab.errors import input_error
from resnetlab.imported_runs.columns import Columns
from resnetlab.imported_runs.declaration import Declaration
from resnetlab.imported_runs.raw_table import RUN_COLUMN, RawTable, Row, cell_text, parse_number
from resnetlab.imported_runs.run_cells import (
    RunCell,
    check_different_runs,
    check_epochs,
    check_one_run,
    last_empty_rows,
    order_by_epoch,
)
from resnetlab.stats.outcomes import Outcome

STATUS_WORDS: dict[Outcome, tuple[str, ...]] = {
    "trained": ("trained", "finished", "completed", "complete", "done", "success", "ok"),
    "at chance": ("at chance", "chance", "dead", "not trained"),
    "diverged": ("diverged", "nan", "inf", "exploded"),
    "out of memory": ("out of memory", "oom"),
    "missing": ("missing", "failed", "crashed", "killed", "error", "canceled", "cancelled"),
    "running": ("running",),
    "waiting": ("waiting", "scheduled", "pending", "queued"),
}
"""Words of tables for each outcome, in lower case."""

_OUTCOME_BY_WORD: dict[str, Outcome] = {
    word: outcome for outcome, words in STATUS_WORDS.items() for word in words
}

MIN_SIZE, MAX_SIZE = 1e-100, 1e100
"""Range of the absolute values of runs. The squares of others do not fit into a float."""

_RUN_NAME = re.compile(
    r"(?P<condition>.+?)[\s/_.-]+(?:(?:seed|run|version|trial|rep|s)[=_-]?(?P<seed>\d+))"
    r"|(?P<folder>.+)/(?P<number>\d+)"
)
"""Names such as `resnet18/seed0`, `resnet18-s0` and `resnet18/version_0`. A number alone is a part
of the network's name, except as the name of a folder."""


@dataclass(frozen=True)
class ImportedRun:
    """Run of a table."""

    condition: str
    key: str
    """Seed, fold or number of the run within its condition, as text."""
    status: Outcome
    value: float | None
    """Value of the run in the unit of the table; None without one."""
    curve: tuple[tuple[float, float], ...]
    """Epoch and value of each evaluation; empty without epochs."""
    origin: str
    fold: str = ""
    """Fold of the run; empty without a column of folds."""
    reason: str = ""


def read_runs(
    table: RawTable, columns: Columns, declaration: Declaration
) -> tuple[list[ImportedRun], list[str]]:
    """Return the runs of a table in their order, and sentences about how they were read.

    Raises:
        InputError: A cell has no allowed value, or two rows are of one run.
    """
    cells = list(
        _wide_cells(table, columns) if columns.wide else _long_cells(table, columns, declaration)
    )
    if not cells:
        raise input_error(table.where, "no rows", "give a table with a row for each run")
    if columns.epoch:
        check_different_runs(table, columns, cells)
    groups: dict[tuple[str, str], list[RunCell]] = {}
    for cell in cells:
        groups.setdefault((cell.condition, cell.key), []).append(cell)
    by_epoch = any(len(group) > 1 for group in groups.values()) and bool(columns.epoch)
    runs = []
    for group in groups.values():
        check_one_run(table, columns, group)
    for group in groups.values():
        if not by_epoch and len(group) > 1:
            raise _duplicate_error(table, columns, group)
        column = columns.value or group[0].condition
        runs.append(_run(table, column, group, by_epoch))
    reading = _reading(table, columns, runs, by_epoch, bool(declaration.paired_by))
    return runs, reading + (last_empty_rows(table, [*groups.values()]) if by_epoch else [])


def _long_cells(table: RawTable, columns: Columns, declaration: Declaration) -> Iterator[RunCell]:
    """Yield the cells of a table with a row for each run, or for each run and epoch."""
    pattern = _compile_pattern(declaration.run_pattern) if declaration.run_pattern else _RUN_NAME
    numbers: dict[str, int] = {}
    keys_of_runs: dict[tuple[str, str], str] = {}
    from_names = not columns.condition
    for row in table.rows:
        name = cell_text(row.cells.get(RUN_COLUMN)) if RUN_COLUMN in table.columns else ""
        parsed = _parse_name(pattern, name) if from_names or declaration.run_pattern else {}
        if from_names and declaration.run_pattern and not parsed:
            fix = "--run-pattern '{condition}-{seed}', with the text between the parts"
            raise table.error(row, RUN_COLUMN, "does not match --run-pattern", fix, got=name)
        parts = [cell_text(row.cells.get(column)) for column in columns.condition]
        condition = " / ".join(parts) if parts else parsed.get("condition", name)
        if not condition or "" in parts:
            column = columns.condition[parts.index("")] if "" in parts else RUN_COLUMN
            raise table.error(row, column, "empty: no condition", "name the condition of each row")
        keys = [
            cell_text(row.cells.get(column)) for column in (columns.seed, columns.fold) if column
        ]
        if "" in keys:
            column = [c for c in (columns.seed, columns.fold) if c][keys.index("")]
            raise table.error(row, column, "empty", "give each run its seed or fold")
        if not keys and parsed.get("seed"):
            keys = [parsed["seed"]]
        is_numbered = not keys  # runs without a seed are numbered in their order
        if is_numbered:
            identity = (condition, row.run or name or row.origin)
            if identity not in keys_of_runs:
                numbers[condition] = numbers.get(condition, -1) + 1
                keys_of_runs[identity] = str(numbers[condition])
            keys = [keys_of_runs[identity]]
        yield RunCell(
            row=row,
            condition=condition,
            key=", ".join(keys),
            value=row.cells.get(columns.value),
            epoch=_epoch(table, columns, row),
            status=cell_text(row.cells.get(columns.status)) if columns.status else "",
            fold=keys[-1] if columns.fold else "",
            name=name,
            is_numbered=is_numbered,
        )


def _wide_cells(table: RawTable, columns: Columns) -> Iterator[RunCell]:
    """Yield the cells of a table with a row for each seed and a column for each condition."""
    key_columns = [column for column in (columns.seed, columns.fold) if column]
    for condition in columns.wide:
        for number, row in enumerate(table.rows):
            keys = [cell_text(row.cells.get(column)) for column in key_columns]
            if "" in keys:
                column = key_columns[keys.index("")]
                raise table.error(row, column, "empty", "give each run its seed or fold")
            key = ", ".join(keys) or str(number)
            fold = keys[-1] if columns.fold else ""
            yield RunCell(row, condition, key, row.cells.get(condition), None, "", fold)


def _epoch(table: RawTable, columns: Columns, row: Row) -> float | None:
    if not columns.epoch or row.cells.get(columns.epoch) is None:
        return None
    cell = row.cells[columns.epoch]
    epoch = parse_number(cell)
    if epoch is None or not math.isfinite(epoch) or epoch < 0:
        fix = "a number from 0 on"
        raise table.error(row, columns.epoch, "not an epoch", fix, got=cell)
    return epoch


def _run(table: RawTable, column: str, group: Sequence[RunCell], by_epoch: bool) -> ImportedRun:
    """Return the run of one row, or of the rows of its epochs."""
    ordered = order_by_epoch(group)
    if by_epoch:
        check_epochs(table, ordered)
    # Not each epoch needs an evaluation.
    last = next((cell for cell in reversed(ordered) if cell_text(cell.value)), ordered[-1])
    number, word = _read_value(table, column, last)
    # A status of an earlier row, such as "running", is not that of the end.
    since = ordered[ordered.index(last) :]
    with_status = next((cell for cell in reversed(since) if cell.status), last)
    status = word or _outcome(table, with_status)
    reason, value = "", number
    if not status:
        status = "missing" if number is None else "trained"
        reason = "" if number is not None else "no value in the table"
    if status == "trained" and number is None:
        status, reason = "missing", f"{with_status.status}, without a value"
    elif number is not None and not math.isfinite(number):
        value = None
        if status in ("trained", "at chance"):
            status, reason = "diverged", f"the value is {number}"
    elif number is not None and status not in ("trained", "at chance"):
        value = None
        if status not in ("running", "waiting"):
            reason = f"{with_status.status or status}; its last value, {number:g}, does not count"
    curve: tuple[tuple[float, float], ...] = ()
    if by_epoch:
        points = [(cell.epoch, parse_number(cell.value)) for cell in ordered]
        curve = tuple(
            (epoch, number)
            for epoch, number in points
            if epoch is not None and number is not None and math.isfinite(number)
        )
    origin = last.row.origin
    if by_epoch and len(group) > 1 and origin.startswith("row "):
        origin = f"{ordered[0].row.origin} to {origin.removeprefix('row ')}"
    return ImportedRun(last.condition, last.key, status, value, curve, origin, last.fold, reason)


def _read_value(table: RawTable, column: str, cell: RunCell) -> tuple[float | None, Outcome | None]:
    """Return the number of a cell, or the outcome that its word names; neither if it is empty."""
    text = cell_text(cell.value)
    if not text:
        return None, None
    number = parse_number(cell.value)
    if number is not None:
        if number and math.isfinite(number) and not MIN_SIZE <= abs(number) <= MAX_SIZE:
            fix = "write the values in another unit, or diverged for a run that diverged"
            allowed = f"0, or {MIN_SIZE:g} to {MAX_SIZE:g} with a sign"
            raise table.error(cell.row, column, "out of range", fix, got=text, allowed=allowed)
        return number, None
    outcome = _OUTCOME_BY_WORD.get(text.lower())
    if outcome is None or outcome == "trained":
        fix = "a number such as 91.3, an empty cell for a missing run, or a status"
        allowed = "a number, " + ", ".join(word for word in STATUS_WORDS if word != "trained")
        raise table.error(cell.row, column, "not a value", fix, got=text, allowed=allowed)
    return None, outcome


def _outcome(table: RawTable, cell: RunCell) -> Outcome | None:
    """Return the outcome of a status, or None without one."""
    word = cell.status.lower().replace("_", " ")
    if not word:
        return None
    if word not in _OUTCOME_BY_WORD:
        raise input_error(
            table.where,
            "an unknown status",
            "write one of the statuses, or --ignore the column",
            field=f"{cell.row.origin}, status",
            got=cell.status,
            allowed=", ".join(_OUTCOME_BY_WORD),
        )
    return _OUTCOME_BY_WORD[word]


def _duplicate_error(table: RawTable, columns: Columns, group: Sequence[RunCell]) -> Exception:
    rows = " and ".join(cell.row.origin for cell in group[:4])
    more = f" and {len(group) - 4} more" if len(group) > 4 else ""
    fix = "keep one row for each run; --epoch COLUMN if a run has a row for each epoch"
    if not columns.seed and not columns.fold:
        fix = f"--seed COLUMN, or {fix}"
    message = f"{len(group)} rows of {group[0].condition}, run {group[0].key}"
    return input_error(table.where, message, fix, field=rows + more)


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern such as `{condition}-{seed}`."""
    if "{condition}" not in pattern:
        fix = "--run-pattern '{condition}-{seed}'"
        raise input_error("--run-pattern", "has no {condition}", fix, got=pattern)
    text = re.escape(pattern)
    for part in ("condition", "seed"):
        text = text.replace(re.escape(f"{{{part}}}"), f"(?P<{part}>.+)", 1)
    return re.compile(text)


def _parse_name(pattern: re.Pattern[str], name: str) -> dict[str, str]:
    """Return the parts `condition` and `seed` of the name of a run; empty if it has none."""
    match = pattern.fullmatch(name)
    if match is None:
        return {}
    parts = {key: text for key, text in match.groupdict().items() if text is not None}
    if "folder" in parts:
        return {"condition": parts["folder"], "seed": parts["number"]}
    return parts


def _reading(
    table: RawTable,
    columns: Columns,
    runs: Sequence[ImportedRun],
    by_epoch: bool,
    is_paired: bool,
) -> list[str]:
    """Return sentences about how the table was read."""
    sentences = list(table.reading)
    if columns.wide:
        sentences.append("Wide form: a row for each seed and a column for each condition.")
    if columns.recognized:
        sentences.append(f"Columns recognized by their names: {', '.join(columns.recognized)}.")
    if columns.unused:
        sentences.append(f"Columns that are not used: {', '.join(columns.unused)}.")
    if not columns.condition and not columns.wide:
        sentences.append("Condition and seed come from the names of the runs.")
    elif not columns.seed and not columns.fold:
        sentences.append("Without a column of seeds, the runs of a condition are numbered.")
    if by_epoch:
        ends = sorted({run.curve[-1][0] for run in runs if run.curve})
        text = f"{ends[0]:g} to {ends[-1]:g}" if len(ends) > 1 else f"{ends[0]:g}" if ends else ""
        sentences.append(f"The value of a run is that of its last epoch ({text}).")
        if len(ends) > 1:
            sentences.append("The runs do not end at the same epoch.")
    return [*sentences, *_absent_keys(runs, is_paired)]


def missing_partners(runs: Sequence[ImportedRun], left: str, right: str) -> list[ImportedRun]:
    """Return a missing run for each run of two conditions whose partner has no row."""
    by_key = {
        label: {run.key: run for run in runs if run.condition == label} for label in (left, right)
    }
    return [
        ImportedRun(label, key, "missing", None, (), "no row", run.fold, "no row in the table")
        for label, other in ((left, right), (right, left))
        for key, run in by_key[other].items()
        if key not in by_key[label]
    ]


def _absent_keys(runs: Sequence[ImportedRun], is_paired: bool) -> list[str]:
    """Return a sentence for each condition that lacks a seed of the others."""
    keys = list(dict.fromkeys(run.key for run in runs))
    by_condition: dict[str, set[str]] = {}
    for run in runs:
        by_condition.setdefault(run.condition, set()).add(run.key)
    sentences = []
    for condition, present in by_condition.items():
        absent = [key for key in keys if key not in present]
        if absent and len(absent) <= 10:
            planned = "only rows count as planned runs"
            if is_paired:
                planned = "the other half of a pair counts as a missing run"
            sentences.append(f"{condition} has no row for {', '.join(absent)}; {planned}.")
    return sentences
