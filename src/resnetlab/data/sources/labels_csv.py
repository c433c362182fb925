"""Reader of a folder's `labels.csv` with the columns path, label and optionally split.

Reports its mistakes.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from resnetlab.data.sources.folder_types import (
    LABELS_FILE,
    SPLIT_ALIASES,
    LabeledFile,
    ScannedFile,
    SkippedFile,
)
from resnetlab.errors import InputError, Problem, input_error, suggest

MAX_BYTES = 500_000_000
MAX_LISTED_PROBLEMS = 20
"""Maximum number of reported mistakes.

A wrong column is wrong in every row, so the first ones are enough.
"""


def read_labels(
    root: Path, entries: list[ScannedFile]
) -> tuple[list[LabeledFile], list[SkippedFile]]:
    """Return the files that `labels.csv` names, and the other files with a reason.

    Raises InputError with its mistakes.
    """
    where = f"{root}/{LABELS_FILE}"
    rows = _read_rows(root / LABELS_FILE)
    entry_at = {entry.path: entry for entry in entries}
    files: dict[str, LabeledFile] = {}
    problems: list[Problem] = []
    for line, row in rows:
        file, problem = _parse_row(row, entry_at, files)
        if problem is not None:
            message, fix = problem
            problems.append(Problem(f"{where}:{line}", message, fix))
        elif file is not None:
            files[file.path] = file
    if len(problems) > MAX_LISTED_PROBLEMS:
        problems[MAX_LISTED_PROBLEMS:] = [
            Problem(
                where, f"{len(problems) - MAX_LISTED_PROBLEMS} more mistakes", "correct these first"
            )
        ]
    if len({file.split is None for file in files.values()}) > 1:
        problems.append(
            Problem(
                where, "some rows have a split and some have none", "fill the column or remove it"
            )
        )
    if problems or not files:
        raise InputError(
            *problems or [Problem(where, "no rows", "give a row path,label for each image")]
        )
    passed = [
        SkippedFile(
            entry.path,
            "hidden"
            if entry.path.startswith(".")
            else entry.skip_reason or f"not in {LABELS_FILE}",
        )
        for entry in entries
        if entry.path not in files and entry.path != LABELS_FILE
    ]
    return list(files.values()), passed


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return each row with the number of its last line."""
    fix = "write a header line path,label or path,label,split and a row for each image, in UTF-8"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise input_error(str(path), f"larger than {MAX_BYTES // 10**6} MB", fix)
        reader = csv.DictReader(
            io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True
        )
        columns = list(reader.fieldnames or [])
        if sorted(columns) not in (["label", "path"], ["label", "path", "split"]):
            raise input_error(
                f"{path}:1",
                "other columns",
                fix,
                got=",".join(columns),
                allowed="path,label[,split]",
            )
        return [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise input_error(str(path), "not text in UTF-8", fix) from error
    except (csv.Error, OSError) as error:
        raise input_error(str(path), f"not a CSV table: {error}", fix) from error


def _parse_row(
    row: dict[str, str], entry_at: dict[str, ScannedFile], used: dict[str, LabeledFile]
) -> tuple[LabeledFile | None, tuple[str, str] | None]:
    """Return the file of a row, or a problem and its fix."""
    if None in row or None in row.values():
        return None, ("more or fewer values than columns", "quote a value that contains a comma")
    path, label, split = row["path"].removeprefix("./"), row["label"], row.get("split", "")
    entry = entry_at.get(
        path
    )  # only files that the walk listed: no `..`, no absolute path, no link
    if entry is None:
        return None, (
            f'no file "{path}" in the folder',
            "write paths below the folder, or remove the row",
        )
    if entry.skip_reason:
        return None, (
            f'"{path}" is {entry.skip_reason}',
            "put the file itself there, or remove the row",
        )
    if path in used:
        return None, (f'"{path}" a second time', "keep one row for each file")
    if not label:
        return None, (f'"{path}" has no label', "give it one, or remove the row")
    if split and split not in SPLIT_ALIASES:
        return None, (
            f'split "{split}" is none of train, validation, test',
            suggest(split, SPLIT_ALIASES) or "train",
        )
    return LabeledFile(path, label, SPLIT_ALIASES[split] if split else None), None
